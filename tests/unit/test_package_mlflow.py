"""Models in MLflow's format: a directory that looks as MLflow writes it."""

import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from berth.operations.package import PackagedModel, PackageError
from berth.operations.package_mlflow import package_source
from berth_protocol.model_card import MlflowOrigin
from tests.small_models import build

_COLUMNS = [{"type": "double", "name": name, "required": True} for name in ("a", "b")]


def _tensor(shape: list[int], dtype: str = "float32", **more: str) -> dict[str, Any]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}, **more}


def _write(
    root: Path,
    *,
    flavors: dict[str, Any] | None = None,
    inputs: list[dict[str, Any]] | None = None,
    example: Any = None,
) -> Path:
    """Write a model of two columns with the flavor onnx."""
    root.mkdir(parents=True)
    model = build(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)],
        {"x": (TensorProto.FLOAT, [None, 2])},
        {"y": (TensorProto.FLOAT, [None, 1])},
        {"axes": np.array([1])},
    )
    onnx.save(model, root / "model.onnx")
    document: dict[str, Any] = {
        "flavors": flavors or {"onnx": {"data": "model.onnx", "onnx_version": "1.22.0"}},
        "run_id": "5f1e",
        "model_id": "m-77",
    }
    if inputs is not None:
        document["signature"] = {"inputs": json.dumps(inputs), "outputs": None}
    if example is not None:
        document["saved_input_example_info"] = {"artifact_path": "input_example.json"}
        (root / "input_example.json").write_text(json.dumps(example))
    (root / "MLmodel").write_text(yaml.safe_dump(document))
    return root


def _package(source: Path | str, into: Path, **options: Any) -> PackagedModel:
    return package_source(str(source), name="m", version="1", into=into, **options)


_EXAMPLE = {"columns": ["a", "b"], "data": [[1.0, 2.0], [3.0, 4.0]]}


@pytest.mark.parametrize("inputs", [None, _COLUMNS, [_tensor([-1, 2])]])
def test_directory_is_packaged_with_its_example_and_origin(
    tmp_path: Path, inputs: list[dict[str, Any]] | None
) -> None:
    source = _write(tmp_path / "logged", inputs=inputs, example=_EXAMPLE)
    (source / "registered_model_meta").write_text("model_name: sums\nmodel_version: '3'\n")
    result = _package(source, tmp_path / "models")
    assert result.rows == 2
    assert result.card.source.mlflow == MlflowOrigin(
        registered_model="sums", registered_version="3", run_id="5f1e", model_id="m-77"
    )


def test_given_rows_override_the_example(tmp_path: Path) -> None:
    source = _write(tmp_path / "logged", example={"inputs": [[1.0, 2.0]]})
    assert _package(source, tmp_path / "models", rows=np.ones((5, 2), np.float32)).rows == 5


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([*_COLUMNS, {"type": "double", "name": "c"}], r"it has 3 columns \(a, b, c\)"),
        ([_COLUMNS[0], {"type": "string", "name": "b"}], "it has 2 columns"),
        ([_tensor([-1, 3])], r"is float32 \[-1, 3\], the input 'x' is FP32 \[-1, 2\]"),
        ([_tensor([-1, 2], "str")], "is str"),
        ([_tensor([-1, 2], name="x"), _tensor([-1], name="z")], "it has 2 tensors"),
    ],
)
def test_signature_that_differs_packages_nothing(
    tmp_path: Path, inputs: list[dict[str, Any]], message: str
) -> None:
    source = _write(tmp_path / "logged", inputs=inputs, example=_EXAMPLE)
    with pytest.raises(PackageError, match=message):
        _package(source, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_pickle_of_scikit_learn_is_not_loaded(tmp_path: Path) -> None:
    source = _write(
        tmp_path / "logged", flavors={"sklearn": {"pickled_model": "model.pkl"}}, example=_EXAMPLE
    )

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    (source / "model.pkl").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(PackageError, match=r"sklearn: model.pkl is a pickle.*mlflow.onnx"):
        _package(source, tmp_path / "models")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("flavor", "entry", "reason", "advice"),
    [
        ("sklearn", {"pickled_model": "model.skops"}, "format of skops", "package a function"),
        ("lightgbm", {"data": "model.skops"}, "format of skops", "log the estimator's booster_"),
        ("lightgbm", {"data": "model.pkl"}, "model.pkl is a pickle", "booster_ instead"),
        ("xgboost", {"data": "model.pkl"}, "model.pkl is a pickle", "model_format='ubj'"),
        ("pytorch", {"model_data": "data"}, "model.pth is a pickle", "serialization_format='pt2'"),
    ],
)
def test_format_that_cannot_be_packaged_is_rejected_with_what_to_log(
    tmp_path: Path, flavor: str, entry: dict[str, Any], reason: str, advice: str
) -> None:
    source = _write(tmp_path / "logged", flavors={flavor: entry}, example=_EXAMPLE)
    (source / "data").mkdir()
    for name in ("model.pkl", "data/model.pth"):
        (source / name).write_bytes(pickle.dumps(Path()))
    with zipfile.ZipFile(source / "model.skops", "w") as archive:
        archive.writestr("schema.json", "{}")
    with pytest.raises(PackageError) as caught:
        _package(source, tmp_path / "models")
    message = str(caught.value)
    assert message.startswith(f"{source}: ")
    assert reason in message
    assert advice in message
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("data", ["../secret.onnx", "/etc/hostname", "missing.onnx", None])
def test_file_outside_of_the_model_is_rejected(tmp_path: Path, data: str | None) -> None:
    source = _write(tmp_path / "logged", flavors={"onnx": {"data": data}}, example=_EXAMPLE)
    (source / "model.onnx").rename(tmp_path / "secret.onnx")
    with pytest.raises(PackageError, match="has no file that Berth can package"):
        _package(source, tmp_path / "models")


@pytest.mark.parametrize("text", ["[", "a: b", "flavors: [onnx]", ""])
def test_invalid_description_is_rejected(tmp_path: Path, text: str) -> None:
    source = _write(tmp_path / "logged")
    (source / "MLmodel").write_text(text)
    with pytest.raises(PackageError, match="MLmodel: not"):
        _package(source, tmp_path / "models")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "model_format"), [("model.ubj", "ubj"), ("model.xgb", "json")])
def test_xgboost_is_read_by_content(tmp_path: Path, name: str, model_format: str) -> None:
    xgboost = pytest.importorskip("xgboost")
    random = np.random.default_rng(0)
    rows = random.normal(size=(100, 2)).astype(np.float32)
    booster = xgboost.train(
        {"objective": "binary:logistic"}, xgboost.DMatrix(rows, rows[:, 0] > 0), 3
    )
    source = _write(
        tmp_path / "logged", flavors={"xgboost": {"data": name}}, inputs=_COLUMNS, example=_EXAMPLE
    )
    (source / name).write_bytes(bytes(booster.save_raw(model_format)))
    result = _package(source, tmp_path / "models")
    assert result.card.source.framework == "xgboost"


@pytest.mark.slow
def test_booster_of_lightgbm_is_text_whatever_the_format_of_estimators(tmp_path: Path) -> None:
    """MLflow records the format of estimators for a booster, too."""
    lightgbm = pytest.importorskip("lightgbm")
    rows = np.random.default_rng(0).normal(size=(60, 2))
    data = lightgbm.Dataset(rows, rows[:, 0] > 0)
    booster = lightgbm.train({"objective": "binary", "verbose": -1}, data, 3)
    entry = {"data": "model.lgb", "serialization_format": "skops"}
    source = _write(tmp_path / "logged", flavors={"lightgbm": entry}, example=_EXAMPLE)
    booster.save_model(source / "model.lgb")
    assert _package(source, tmp_path / "models").card.source.framework == "lightgbm"


def test_uri_without_mlflow_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(PackageError, match=r"pip install 'berth\[mlflow\]'"):
        _package("models:/sums/3", tmp_path / "models")
