"""Fixtures for all tests of the serving program."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx import helper

from tests.serving.berth import Berth, run_berth, write_model, write_slow_model
from tests.serving.held_berth import HeldRuns, held_runs


@pytest.fixture(scope="session")
def echo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two inputs of 2 columns, and two outputs: their sum, and the first input."""
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


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose run time grows with its input."""
    return write_slow_model(tmp_path_factory.mktemp("slow"))


@pytest.fixture(scope="module")
def berth(echo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """A berth with the echo model, shared by the tests of one module."""
    log = tmp_path_factory.mktemp("berth") / "log"
    with run_berth(echo_model, log, log_level="debug") as berth:
        yield berth


@pytest.fixture
def held() -> Iterator[HeldRuns]:
    """Runs that wait until the test releases them."""
    with tempfile.TemporaryDirectory() as directory, held_runs(Path(directory)) as runs:
        yield runs


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Path of the log of a berth that one test starts."""
    return tmp_path / "log"
