"""Packaging a model: the version gives the same predictions, or nothing is written."""

import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper
from sklearn.cluster import KMeans
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from berth.cli.main import main
from berth.operations.package import PackageError, package_model
from berth.packaging import formats
from berth.packaging.conversion import Conversion
from berth_protocol.model_card import digest, read_card, verify_files

X, Y = load_wine(return_X_y=True)


@pytest.fixture(autouse=True)
def _single_thread() -> Iterator[None]:
    """Use one thread for training: several would wait for each other on a busy machine."""
    with threadpool_limits(1):
        yield


def _affine(scale: float = 2.0) -> onnx.ModelProto:
    """Return the model y = scale * x with two columns."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        "affine",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor("scale", TensorProto.FLOAT, [1], [scale])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


ROWS = np.array([[1, 2], [3, 4]], np.float32)


@pytest.mark.parametrize(
    ("model", "outputs"),
    [
        (LogisticRegression(max_iter=5000), {"label", "probabilities"}),
        (make_pipeline(StandardScaler(), LogisticRegression()), {"label", "probabilities"}),
        (RandomForestClassifier(5, random_state=0), {"label", "probabilities"}),
        (LinearRegression(), {"prediction"}),
        (KMeans(3, n_init=1, random_state=0), {"label"}),
        (StandardScaler(), {"transformed"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_scikit_learn_model_gives_same_predictions(
    model: Any, outputs: set[str], tmp_path: Path
) -> None:
    fitted = model.fit(X, Y)
    result = package_model(fitted, rows=X[:50], name="wine", version="1", into=tmp_path)
    assert result.path == tmp_path / "wine" / "1"
    assert {tensor.name for tensor in result.card.outputs} == outputs
    assert result.rows == 50
    session = onnxruntime.InferenceSession(result.path / "model.onnx")
    first = session.run(None, {"input": X.astype(np.float32)})[0]
    expected = fitted.predict(X) if hasattr(fitted, "predict") else fitted.transform(X)
    np.testing.assert_allclose(first.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


def test_card_is_complete_and_matches_files(tmp_path: Path) -> None:
    result = package_model(
        _affine(), rows=ROWS, name="m", version="1", into=tmp_path, metrics={"error": 0.5},
        description="Twice.", dataset="two rows",
    )  # fmt: skip
    card = read_card(result.path)
    verify_files(result.path, card)
    assert result.digest == digest(result.path)
    assert card.metrics == {"error": 0.5}
    assert (card.description, card.source.dataset) == ("Twice.", "two rows")
    assert card.example["inputs"][0]["data"] == [1.0, 2.0, 3.0, 4.0]


def test_same_input_gives_same_version(tmp_path: Path) -> None:
    first = package_model(_affine(), rows=ROWS, name="m", version="1", into=tmp_path)
    again = package_model(_affine(), rows=ROWS, name="m", version="1", into=tmp_path)
    assert first.changed
    assert not again.changed
    assert first.digest == again.digest


def test_existing_version_is_not_changed(tmp_path: Path) -> None:
    result = package_model(_affine(), rows=ROWS, name="m", version="1", into=tmp_path)
    with pytest.raises(PackageError, match="exists and differs"):
        package_model(_affine(3.0), rows=ROWS, name="m", version="1", into=tmp_path)
    assert digest(result.path) == result.digest
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "1",
        "m",
        "model.onnx",
        "model.yaml",
    ]


def test_different_predictions_are_rejected(tmp_path: Path) -> None:
    rows = {"x": ROWS, "y": ROWS * 2 + 0.01}
    with pytest.raises(PackageError, match=r"output 'y': differs by 0\.01"):
        package_model(_affine(), rows=rows, name="m", version="1", into=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wrong_conversion_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    correct = formats.FORMATS["sklearn"]

    def wrong(model: object, rows: Any) -> Conversion:
        conversion = correct(model, rows)
        labels = {name: np.roll(values, 1) for name, values in conversion.predictions.items()}
        return Conversion(**{**vars(conversion), "predictions": labels})

    monkeypatch.setitem(formats.FORMATS, "sklearn", wrong)
    fitted = LogisticRegression(max_iter=5000).fit(X, Y)
    with pytest.raises(PackageError, match="labels must be equal"):
        package_model(fitted, rows=X[::7], name="wine", version="1", into=tmp_path)
    assert list(tmp_path.iterdir()) == []


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(LinearRegression(), protocol=4))


def _pickled_early(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": 1}, protocol=0))


def _joblib(path: Path) -> None:
    import joblib

    joblib.dump(LinearRegression(), path, compress=3)


def _torch(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1]))


@pytest.mark.parametrize("write", [_pickled, _pickled_early, _joblib, _torch])
def test_pickle_with_another_suffix_is_rejected(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    write(path)
    with pytest.raises(PackageError, match="runs any code that its author put there"):
        package_model(path, rows=ROWS, name="m", version="1", into=tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_pickle_in_rows_is_rejected(tmp_path: Path) -> None:
    rows = tmp_path / "rows.npy"
    np.save(rows, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(PackageError, match="without unpickling"):
        package_model(_affine(), rows=rows, name="m", version="1", into=tmp_path / "models")


def _saved(model: onnx.ModelProto, directory: Path) -> Path:
    path = directory / "given.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_file_that_is_not_onnx_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "given.onnx"
    path.write_bytes(b"\x00nonsense")
    with pytest.raises(PackageError, match="not an ONNX model"):
        package_model(path, rows=ROWS, name="m", version="1", into=tmp_path / "models")


def test_unknown_operator_is_rejected(tmp_path: Path) -> None:
    model = _affine()
    model.graph.node[0].op_type = "Evil"
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(PackageError, match=r"Evil|com\.example"):
        package_model(
            _saved(model, tmp_path), rows=ROWS, name="m", version="1", into=tmp_path / "m"
        )


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd"])
def test_external_data_outside_directory_is_rejected(location: str, tmp_path: Path) -> None:
    directory = tmp_path / "given"
    directory.mkdir()
    (tmp_path / "secret").write_bytes(b"12345678")
    model = _affine()
    scale = model.graph.initializer[0]
    scale.ClearField("float_data")
    scale.data_location = TensorProto.EXTERNAL
    scale.external_data.add(key="location", value=location)
    with pytest.raises(PackageError, match="outside the model's directory"):
        package_model(
            _saved(model, directory), rows=ROWS, name="m", version="1", into=tmp_path / "m"
        )


@pytest.mark.parametrize(
    ("name", "version"), [("Upper", "1"), ("a/b", "1"), ("..", "1"), ("m", "../1"), ("m", "")]
)
def test_invalid_name_is_rejected(name: str, version: str, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="is not valid; use 1 to"):
        package_model(_affine(), rows=ROWS, name=name, version=version, into=tmp_path)


def test_unfitted_estimator_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="fitted"):
        package_model(LinearRegression(), rows=X, name="m", version="1", into=tmp_path)


def test_object_of_unknown_framework_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="Export the model to ONNX"):
        package_model(object(), rows=X, name="m", version="1", into=tmp_path)


def test_interrupted_packaging_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("berth.operations.package._write_card", interrupt)
    with pytest.raises(KeyboardInterrupt):
        package_model(_affine(), rows=ROWS, name="m", version="1", into=tmp_path)
    assert list(tmp_path.iterdir()) == []


TRAIN = """
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
def build():
    rows, labels = load_wine(return_X_y=True)
    model = LogisticRegression(max_iter=5000).fit(rows, labels)
    return model, rows, {"accuracy": model.score(rows, labels)}
def fails():
    raise RuntimeError("no data today")
"""


def test_command_packages_model_that_function_returns(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    arguments = ["--name", "wine", "--version", "1", "--into", str(tmp_path / "models")]
    result = CliRunner().invoke(main, ["package", f"{script}:build", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    card = read_card(tmp_path / "models" / "wine" / "1")
    assert card.metrics["accuracy"] > 0.9
    assert card.source.framework == "scikit-learn"


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("{}:fails", [], "no data today"),
        ("{}:absent", [], "has no function absent"),
        ("{}", [], "the function is missing"),
        ("nowhere.onnx", [], "file not found"),
        ("{}:build", ["--metric", "accuracy=high"], "NAME=NUMBER"),
    ],
)
def test_command_rejects_invalid_input_with_status_2(
    source: str, options: list[str], message: str, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    into = tmp_path / "models"
    arguments = ["--name", "wine", "--version", "1", "--into", str(into), *options]
    result = CliRunner().invoke(main, ["package", source.format(script), *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert not into.exists()
