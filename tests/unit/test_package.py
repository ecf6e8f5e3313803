"""`berth package`: what goes in comes out with the same answers, or not at all."""

import pickle
import zipfile
from collections.abc import Callable
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

from berth.cli.main import main
from berth.operations.package import PackageError, package_model
from berth.packaging import formats
from berth.packaging.converted import Converted
from berth_protocol.model_card import digest, read_card, verify_files

X, Y = load_wine(return_X_y=True)


def _affine(scale: float = 2.0) -> onnx.ModelProto:
    """y = scale * x, of two columns."""
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
def test_scikit_learn_answers_are_kept(model: Any, outputs: set[str], tmp_path: Path) -> None:
    fitted = model.fit(X, Y)
    made = package_model(fitted, rows=X[:50], name="wine", version="1", into=tmp_path)
    assert made.path == tmp_path / "wine" / "1"
    assert {tensor.name for tensor in made.card.outputs} == outputs
    assert made.rows == 50
    session = onnxruntime.InferenceSession(made.path / "model.onnx")
    first = session.run(None, {"input": X.astype(np.float32)})[0]
    expected = fitted.predict(X) if hasattr(fitted, "predict") else fitted.transform(X)
    np.testing.assert_allclose(first.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


def test_card_is_whole_and_the_files_are_the_cards(tmp_path: Path) -> None:
    made = package_model(
        _affine(), rows=ROWS, name="m", version="1", into=tmp_path, metrics={"error": 0.5},
        description="Twice.", dataset="two rows",
    )  # fmt: skip
    card = read_card(made.path)
    verify_files(made.path, card)
    assert made.digest == digest(made.path)
    assert card.metrics == {"error": 0.5}
    assert (card.description, card.source.dataset) == ("Twice.", "two rows")
    assert card.example["inputs"][0]["data"] == [1.0, 2.0, 3.0, 4.0]


def test_same_input_gives_the_same_version(tmp_path: Path) -> None:
    first = package_model(_affine(), rows=ROWS, name="m", version="1", into=tmp_path)
    again = package_model(_affine(), rows=ROWS, name="m", version="1", into=tmp_path)
    assert first.changed
    assert not again.changed
    assert first.digest == again.digest


def test_a_version_never_changes(tmp_path: Path) -> None:
    made = package_model(_affine(), rows=ROWS, name="m", version="1", into=tmp_path)
    with pytest.raises(PackageError, match="exists and differs"):
        package_model(_affine(3.0), rows=ROWS, name="m", version="1", into=tmp_path)
    assert digest(made.path) == made.digest
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "1",
        "m",
        "model.onnx",
        "model.yaml",
    ]


def test_answers_that_differ_from_the_frameworks(tmp_path: Path) -> None:
    rows = {"x": ROWS, "y": ROWS * 2 + 0.01}
    with pytest.raises(PackageError, match=r"output 'y': differs by 0\.01"):
        package_model(_affine(), rows=rows, name="m", version="1", into=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_converter_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = formats.FORMATS["sklearn"]

    def wrong(model: object, rows: Any) -> Converted:
        converted = right(model, rows)
        labels = {name: np.roll(values, 1) for name, values in converted.answers.items()}
        return Converted(**{**vars(converted), "answers": labels})

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
def test_pickle_by_whatever_name(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write(path)
    with pytest.raises(PackageError, match="runs any code that its maker put there"):
        package_model(path, rows=ROWS, name="m", version="1", into=tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_rows_that_hold_a_pickle(tmp_path: Path) -> None:
    rows = tmp_path / "rows.npy"
    np.save(rows, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(PackageError, match="without unpickling"):
        package_model(_affine(), rows=rows, name="m", version="1", into=tmp_path / "models")


def _saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "given.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_what_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "given.onnx"
    path.write_bytes(b"\x00nonsense")
    with pytest.raises(PackageError, match="not an ONNX model"):
        package_model(path, rows=ROWS, name="m", version="1", into=tmp_path / "models")


def test_operator_that_nobody_knows(tmp_path: Path) -> None:
    model = _affine()
    model.graph.node[0].op_type = "Evil"
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(PackageError, match=r"Evil|com\.example"):
        package_model(
            _saved(model, tmp_path), rows=ROWS, name="m", version="1", into=tmp_path / "m"
        )


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd"])
def test_external_data_outside_of_the_folder(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"12345678")
    model = _affine()
    scale = model.graph.initializer[0]
    scale.ClearField("float_data")
    scale.data_location = TensorProto.EXTERNAL
    scale.external_data.add(key="location", value=location)
    with pytest.raises(PackageError, match="outside the model's directory"):
        package_model(_saved(model, folder), rows=ROWS, name="m", version="1", into=tmp_path / "m")


@pytest.mark.parametrize(
    ("name", "version"), [("Upper", "1"), ("a/b", "1"), ("..", "1"), ("m", "../1"), ("m", "")]
)
def test_names_that_are_no_labels(name: str, version: str, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="is not allowed; 1 to"):
        package_model(_affine(), rows=ROWS, name=name, version=version, into=tmp_path)


def test_estimator_that_is_not_fitted(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="fitted"):
        package_model(LinearRegression(), rows=X, name="m", version="1", into=tmp_path)


def test_object_of_an_unknown_framework(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="export it to ONNX"):
        package_model(object(), rows=X, name="m", version="1", into=tmp_path)


def test_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_command_packages_what_a_function_returns(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    arguments = ["--name", "wine", "--version", "1", "--into", str(tmp_path / "models")]
    done = CliRunner().invoke(main, ["package", f"{script}:build", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    card = read_card(tmp_path / "models" / "wine" / "1")
    assert card.metrics["accuracy"] > 0.9
    assert card.source.framework == "scikit-learn"


@pytest.mark.parametrize(
    ("source", "more", "said"),
    [
        ("{}:fails", [], "no data today"),
        ("{}:absent", [], "has no function absent"),
        ("{}", [], "name the function too"),
        ("nowhere.onnx", [], "no such file"),
        ("{}:build", ["--metric", "accuracy=high"], "NAME=NUMBER"),
    ],
)
def test_command_refuses_with_2(source: str, more: list[str], said: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    into = tmp_path / "models"
    arguments = ["--name", "wine", "--version", "1", "--into", str(into), *more]
    done = CliRunner().invoke(main, ["package", source.format(script), *arguments])
    assert done.exit_code == 2
    assert said in done.output
    assert not into.exists()
