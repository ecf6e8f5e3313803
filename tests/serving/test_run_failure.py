"""A model that cannot run a request: the response and the log say why, without values."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from tests.serving.berth import run_berth, write_model


def _write(
    directory: Path, operator: str, constant: Any, output: tuple[int, int], **attributes: Any
) -> Path:
    return write_model(
        directory,
        [helper.make_node(operator, ["x", "c"], ["y"], name="node-7", **attributes)],
        [("x", "FP32", ["n", 4])],
        [("y", "FP32", list(output))],
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0] * 4}]},
        initializers=[numpy_helper.from_array(constant, "c")],
    )


@pytest.mark.parametrize(
    ("operator", "constant", "attributes", "output", "expected"),
    [
        ("Reshape", np.array([1, 4]), {}, (1, 4), ["{2,4}", "{1,4}"]),
        (
            "Concat",
            np.ones((1, 4), np.float32),
            {"axis": 1},
            (1, 8),
            ["1 and 2 elements on axis 0"],
        ),
    ],
)
def test_rejected_request_names_node_operator_and_shapes(
    tmp_path: Path,
    log: Path,
    operator: str,
    constant: Any,
    attributes: dict[str, Any],
    output: tuple[int, int],
    expected: list[str],
) -> None:
    values = [77.125] * 8
    with run_berth(_write(tmp_path / "m", operator, constant, output, **attributes), log) as berth:
        tensor = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": values}
        response = berth.infer({"inputs": [tensor]})
        assert response.status_code == 400
        error = response.json()["error"]
        for part in [f"The operator {operator}", "'node-7'", "x [2, 4]", *expected]:
            assert part in error
        logged = [line for line in berth.read_log() if "rejected a request" in line["message"]]
        assert len(logged) == 1
        assert operator in logged[0]["reason"]
        assert "77.125" not in error + log.read_text()


def test_value_of_index_is_not_returned(tmp_path: Path, log: Path) -> None:
    model = write_model(
        tmp_path / "m",
        [helper.make_node("Gather", ["c", "i"], ["y"], name="lookup")],
        [("i", "INT64", ["n"])],
        [("y", "FP32", ["n", 4])],
        {"inputs": [{"name": "i", "datatype": "INT64", "shape": [1], "data": [0]}]},
        initializers=[numpy_helper.from_array(np.ones((3, 4), np.float32), "c")],
    )
    with run_berth(model, log) as berth:
        tensor = {"name": "i", "datatype": "INT64", "shape": [1], "data": [777]}
        response = berth.infer({"inputs": [tensor]})
        assert response.status_code == 400
        assert "'lookup'" in response.json()["error"]
        assert "an index is outside its range [-3,2]" in response.json()["error"]
        assert "777" not in response.text + log.read_text()
