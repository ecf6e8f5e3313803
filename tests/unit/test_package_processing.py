"""Packaging a model with pre- and post-processing: checked as clients use it, or not written."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from berth.operations.package import PackageError, package_model
from berth_protocol.model_card import (
    CardError,
    Tensor,
    example_body,
    file_sha256,
    read_card,
    verify_files,
)
from tests.bitmap_model import EXAMPLE, package_bitmap_model

_HEAD = "import numpy as np\nfrom berth_serving.processing import InvalidInputError, Tensor\n"
_CELSIUS = 'INPUTS = [Tensor("celsius", "FP64", [-1, 2])]\n'
_SCALE = _HEAD + _CELSIUS + (
    "def preprocess(inputs):\n    return {'x': (inputs['celsius'] / 100).astype(np.float32)}\n"
)  # fmt: skip
_LABEL = _HEAD + (
    'OUTPUTS = [Tensor("label", "BYTES", [-1])]\n'
    "def postprocess(outputs):\n"
    "    return {'label': np.where(outputs['y'][:, 0] > 1, 'hot', 'ok')}\n"
)  # fmt: skip
_ROWS = np.array([[10.0, 20.0], [80.0, 90.0]])


def _double() -> onnx.ModelProto:
    """Return the model y = 2 x with two columns."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _package(source: str, rows: object, tmp_path: Path) -> Path:
    tmp_path.mkdir(exist_ok=True)
    file = tmp_path / "mine.py"
    file.write_text(source)
    packaged = package_model(
        _double(), rows=rows, processing=file, name="m", version="1", into=tmp_path / "models"
    )
    return packaged.path


def test_card_lists_the_file_and_what_clients_send_and_receive(tmp_path: Path) -> None:
    packaged = package_bitmap_model(tmp_path)
    card = read_card(packaged.path)
    verify_files(packaged.path, card)
    assert card.processing == "serve.py"
    assert card.files["serve.py"] == file_sha256(EXAMPLE / "serve.py")
    assert card.inputs == [Tensor("bitmap", "UINT8", [-1, 32, 32])]
    assert card.outputs == [Tensor("digit", "BYTES", [-1]), Tensor("confidence", "FP32", [-1])]
    assert card.has_rows
    assert packaged.differences.keys() == {"label", "probabilities", "digit"}
    body, header_length = example_body(packaged.path, card)
    assert header_length is not None
    assert set(body[header_length:]) == {0, 1}


def test_changed_file_is_another_version(tmp_path: Path) -> None:
    digests = set()
    for number, source in enumerate((_SCALE, _SCALE + "\n# A comment.\n")):
        path = _package(source, _ROWS, tmp_path / str(number))
        digests.add(file_sha256(path / "model.yaml"))
    assert len(digests) == 2


def test_file_that_the_card_does_not_list_is_rejected(tmp_path: Path) -> None:
    path = _package(_SCALE, _ROWS, tmp_path)
    card = path / "model.yaml"
    card.write_text(card.read_text().replace("serve.py: sha256", "other.py: sha256"))
    with pytest.raises(CardError, match=r"files: serve\.py is missing"):
        read_card(path)


def test_only_postprocessing_keeps_the_inputs_of_the_model(tmp_path: Path) -> None:
    rows = {"x": _ROWS / 100, "label": np.array(["ok", "hot"])}
    card = read_card(_package(_LABEL, rows, tmp_path))
    assert card.inputs == [Tensor("x", "FP32", [-1, 2])]
    assert card.outputs == [Tensor("label", "BYTES", [-1])]


def test_predictions_of_the_framework_are_compared_behind_preprocessing(tmp_path: Path) -> None:
    rows = {"celsius": _ROWS, "y": _ROWS / 100 * 2 + 0.1}
    with pytest.raises(PackageError, match=r"output 'y': differs by 0\.1"):
        _package(_SCALE, rows, tmp_path)


def test_other_results_than_expected_are_rejected(tmp_path: Path) -> None:
    rows = {"x": _ROWS / 100, "label": np.array(["ok", "ok"])}
    with pytest.raises(PackageError, match=r"at row 1 \(the version returns hot, the rows ok\)"):
        _package(_LABEL, rows, tmp_path)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import pandas\nfrom sklearn.svm import SVC\n", "imports pandas, sklearn.svm, which a"),
        ("from . import helper\n", "imports ., which a serving image does not contain"),
        ("import tkinter\n", "imports tkinter"),
        ("def preprocess(:\n", r"not a file for Python 3\.11"),
        ("x = 1 / 0\n", "failed with ZeroDivisionError"),
        ("x = 1\n", "defines neither preprocess nor postprocess"),
        (_HEAD + _CELSIUS + "def postprocess(outputs): ...\n", "defines INPUTS without preprocess"),
        (_HEAD + "def preprocess(inputs): ...\n", "defines preprocess without INPUTS"),
        (_HEAD + 'INPUTS = ["x"]\ndef preprocess(inputs): ...\n', "must be a list with one Tensor"),
        (_SCALE.replace("FP64", "FLOAT"), "unknown datatype 'FLOAT'"),
        (_SCALE.replace("[-1, 2]", "[None, 2]"), "Use whole numbers"),
        (_SCALE.replace("float32", "float64"), r"returned float64 \[2, 2\] for 'x'; FP32"),
        (_SCALE.replace("'x'", "'other'"), "Missing: x; unknown: 'other'"),
        (_SCALE.replace("/ 100", "/ inputs['f']"), "preprocess failed with KeyError: 'f'"),
        (_LABEL.replace("'hot', 'ok'", "1, 0"), "returned int64"),
        (_LABEL.replace("{'label'", "{'labels'"), "Missing: label; unknown: 'labels'"),
    ],
)  # fmt: skip
def test_file_that_cannot_be_served_is_rejected(source: str, message: str, tmp_path: Path) -> None:
    rows = {"celsius": _ROWS} if "celsius" in source else {"x": _ROWS / 100}
    with pytest.raises(PackageError, match=message):
        _package(source, rows, tmp_path)
    assert not (tmp_path / "models").exists()


def test_rows_that_the_file_refuses_are_rejected_with_its_message(tmp_path: Path) -> None:
    source = _SCALE.replace("    return", "    raise InvalidInputError('too cold')\n    return")
    with pytest.raises(PackageError, match="the file refused the rows: too cold"):
        _package(source, _ROWS, tmp_path)


def test_file_that_mixes_rows_is_packaged_without_rows(tmp_path: Path) -> None:
    source = _SCALE.replace("/ 100", "/ inputs['celsius'].max()")
    card = read_card(_package(source, _ROWS, tmp_path))
    assert not card.has_rows
    assert "differs when" in card.no_rows_reason
