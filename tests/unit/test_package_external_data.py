"""ONNX external data: packaged from the model's directory, never written to another one."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from berth.operations.package import PackageError, package_model
from berth.packaging.formats.onnx import convert
from berth_protocol.model_card import read_card, verify_files

ROWS = np.array([[1, 2], [3, 4]], np.float32)
TWO = np.float32(2).tobytes()


def _model(path: Path, location: str) -> Path:
    """Write the model y = scale * x to `path`, with scale in the file `location`."""
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [1], [2.0])
    scale.ClearField("float_data")
    scale.data_location = TensorProto.EXTERNAL
    scale.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        "affine",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])],
        [scale],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def test_model_that_stays_unchanged_is_copied_and_not_kept_in_memory(tmp_path: Path) -> None:
    """A file of 2 GB would take as much memory until the version is complete."""
    given = _model(tmp_path / "given" / "affine.onnx", "weights.bin")
    (given.parent / "weights.bin").write_bytes(TWO)
    assert convert(given, ROWS).model == given
    made = package_model(given, rows=ROWS, name="m", version="1", into=tmp_path / "models")
    assert (made.path / "model.onnx").read_bytes() == given.read_bytes()


@pytest.mark.parametrize("location", ["weights.bin", "data/weights.bin"])
def test_data_in_model_directory_is_packaged(location: str, tmp_path: Path) -> None:
    given = _model(tmp_path / "given" / "affine.onnx", location)
    weights = given.parent / location
    weights.parent.mkdir(exist_ok=True)
    weights.write_bytes(TWO)
    made = package_model(
        given, rows={"x": ROWS, "y": 2 * ROWS}, name="m", version="1", into=tmp_path / "models"
    )
    card = read_card(made.path)
    assert set(card.files) == {"model.onnx", location}
    verify_files(made.path, card)


def test_data_path_through_parent_directory_is_rejected(tmp_path: Path) -> None:
    """../digits/1/model.onnx is inside a directory `digits`, but not inside the version's."""
    published = tmp_path / "models" / "digits" / "1" / "model.onnx"
    published.parent.mkdir(parents=True)
    published.write_bytes(b"published")
    given = _model(tmp_path / "digits" / "given.onnx", "../digits/1/model.onnx")
    (given.parent / "1").mkdir()
    (given.parent / "1" / "model.onnx").write_bytes(TWO)
    with pytest.raises(PackageError, match="outside the model's directory"):
        package_model(given, rows=ROWS, name="m", version="1", into=tmp_path / "models")
    assert published.read_bytes() == b"published"
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["digits"]


def test_data_behind_a_link_out_of_the_folder(tmp_path: Path) -> None:
    given = _model(tmp_path / "given" / "affine.onnx", "weights.bin")
    (tmp_path / "secret").write_bytes(TWO)
    (given.parent / "weights.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(PackageError, match="outside the model's directory"):
        package_model(given, rows=ROWS, name="m", version="1", into=tmp_path / "models")


@pytest.mark.parametrize("location", ["model.onnx", "./model.onnx", "model.yaml"])
def test_data_with_reserved_name_is_rejected(location: str, tmp_path: Path) -> None:
    given = _model(tmp_path / "given" / "affine.onnx", location)
    (given.parent / location).write_bytes(TWO)
    with pytest.raises(PackageError, match="is a reserved name"):
        package_model(given, rows=ROWS, name="m", version="1", into=tmp_path / "models")


def test_missing_data_is_rejected(tmp_path: Path) -> None:
    given = _model(tmp_path / "given" / "affine.onnx", "weights.bin")
    with pytest.raises(PackageError, match="which is not a file"):
        package_model(given, rows=ROWS, name="m", version="1", into=tmp_path / "models")
