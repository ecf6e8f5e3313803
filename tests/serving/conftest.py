"""One berth for each module, whose model answers what it is asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx import helper

from tests.serving.berth import Berth, running, write_model


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows-by-2 inputs, two outputs: their sum, and the first again."""
    pair = {"datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}
    return write_model(
        tmp_path_factory.mktemp("echo"),
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Identity", ["a"], ["same"]),
        ],
        [("a", "FP32", ["rows", 2]), ("b", "FP32", ["rows", 2])],
        [("sum", "FP32", ["rows", 2]), ("same", "FP32", ["rows", 2])],
        {"inputs": [{"name": "a", **pair}, {"name": "b", **pair}]},
    )


@pytest.fixture(scope="module")
def berth(echo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    with running(echo, tmp_path_factory.mktemp("berth") / "log", log_level="debug") as found:
        yield found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"
