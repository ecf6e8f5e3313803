"""Packaging LightGBM models: same predictions, also for values at thresholds."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from berth.cli.main import main
from berth.operations.package import PackageError, package_model
from berth.packaging.formats import detect_framework
from berth_protocol.model_card import read_card
from tests.unit.tree_rows import add_rows_at_thresholds

lightgbm = pytest.importorskip(
    "lightgbm",
    reason="LightGBM is not installed: pip install 'berth[lightgbm]'",
)

WINE = load_wine(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
# Use one thread: several would wait for each other if tests share the CPUs.
SIZE = {"n_estimators": 40, "verbose": -1, "n_jobs": 1}


def _with_missing_values(rows: Any) -> Any:
    return np.where(np.random.default_rng(0).random(rows.shape) < 0.3, np.nan, rows)


def _classifier(rows: Any, labels: Any, **more: Any) -> Any:
    return lightgbm.LGBMClassifier(**SIZE, **more).fit(rows, labels)


def _regressor(rows: Any, truth: Any, **more: Any) -> Any:
    return lightgbm.LGBMRegressor(**SIZE, **more).fit(rows, truth)


def _train_with_early_stopping() -> Any:
    rows, labels = WINE
    model = lightgbm.LGBMClassifier(n_estimators=200, verbose=-1, n_jobs=1)
    stop = lightgbm.early_stopping(3, verbose=False)
    model.fit(rows[::2], labels[::2], eval_set=[(rows[1::2], labels[1::2])], callbacks=[stop])
    assert model.best_iteration_ < 200
    return model


def _categories() -> Any:
    """Return rows and target: a column with many categories, one with few, and one of numbers."""
    random = np.random.default_rng(0)
    rows = np.c_[random.integers(0, 40, 800), random.integers(0, 3, 800), random.random(800)]
    return rows, (rows[:, 0] % 3 == 1) * 2.0 + (rows[:, 1] == 2) + rows[:, 2]


def _train_on_categories() -> Any:
    return lightgbm.LGBMRegressor(**SIZE).fit(*_categories(), categorical_feature=[0, 1])


FOREST = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}
ODD_CATEGORIES = [[-1, 0, 0], [-0.5, 1, 0], [1.5, 2, 0], [99, 7, 0], [np.nan, np.nan, 0]]
MODELS: dict[str, tuple[Callable[[], Any], Any]] = {
    "two classes": (lambda: _classifier(*CANCER), CANCER[0]),
    "three classes": (lambda: _classifier(*WINE), WINE[0]),
    "one against all": (lambda: _classifier(*WINE, objective="multiclassova"), WINE[0]),
    "steep sigmoid": (lambda: _classifier(*CANCER, sigmoid=2.5), CANCER[0]),
    "forest": (lambda: _classifier(*WINE, **FOREST), WINE[0]),
    "stopped early": (_train_with_early_stopping, WINE[0]),
    "regression": (lambda: _regressor(*DIABETES), DIABETES[0]),
    "missing values": (
        lambda: _regressor(_with_missing_values(DIABETES[0]), DIABETES[1]),
        np.vstack([DIABETES[0], _with_missing_values(DIABETES[0])]),
    ),
    "missing values, none in training": (
        lambda: _regressor(*DIABETES),
        np.vstack([DIABETES[0], _with_missing_values(DIABETES[0])]),
    ),
    "dart": (lambda: _regressor(*DIABETES, boosting_type="dart"), DIABETES[0]),
    "poisson": (lambda: _regressor(*DIABETES, objective="poisson"), DIABETES[0]),
    "quantile": (lambda: _regressor(*DIABETES, objective="quantile"), DIABETES[0]),
    "share": (
        lambda: _regressor(DIABETES[0], DIABETES[1] / 400, objective="cross_entropy"),
        DIABETES[0],
    ),
    "intensity": (
        lambda: _regressor(DIABETES[0], DIABETES[1] / 400, objective="cross_entropy_lambda"),
        DIABETES[0],
    ),
    "categories": (_train_on_categories, np.vstack([_categories()[0], np.array(ODD_CATEGORIES)])),
    "no split": (lambda: _regressor(*DIABETES, min_child_samples=1000), DIABETES[0]),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_packaged_model_gives_same_predictions_at_thresholds(model: str, tmp_path: Path) -> None:
    train, rows = MODELS[model]
    trained = train()
    first = package_model(trained, rows=rows, name="m", version="1", into=tmp_path)
    assert first.card.inputs[0].datatype == "FP64"
    rows_at_thresholds = add_rows_at_thresholds(first.path / "model.onnx", rows)
    packaged = package_model(trained, rows=rows_at_thresholds, name="m", version="2", into=tmp_path)
    assert packaged.rows == len(rows_at_thresholds)
    assert all(each.largest <= each.allowed for each in packaged.differences.values())
    trained.booster_.save_model(tmp_path / "saved.txt")
    again = package_model(tmp_path / "saved.txt", rows=rows, name="m", version="1", into=tmp_path)
    assert not again.changed


def test_labels_are_classes_of_estimator(tmp_path: Path) -> None:
    names = np.array(["barolo", "grignolino", "barbera"])
    model = _classifier(WINE[0], names[WINE[1]])
    packaged = package_model(model, rows=WINE[0], name="wine", version="1", into=tmp_path)
    label, probabilities = packaged.card.outputs
    assert (label.name, label.datatype, label.shape) == ("label", "BYTES", [-1])
    assert (probabilities.name, probabilities.shape) == ("probabilities", [-1, 3])
    assert packaged.card.source.framework_version == lightgbm.__version__


@pytest.mark.parametrize("labels", [np.array([3, 7, 40]), np.array([1.0, 2.0, 5.0])])
def test_integral_labels_are_int64(labels: Any, tmp_path: Path) -> None:
    model = _classifier(WINE[0], labels[WINE[1]])
    packaged = package_model(model, rows=WINE[0], name="wine", version="1", into=tmp_path)
    assert packaged.card.outputs[0].datatype == "INT64"


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (lambda: lightgbm.LGBMRegressor(), "model is not fitted"),
        (lambda: _regressor(*DIABETES, linear_tree=True), "linear_tree"),
        (lambda: _regressor(*DIABETES, zero_as_missing=True), "zero_as_missing"),
        (lambda: _regressor(*DIABETES, reg_sqrt=True), "objective regression sqrt: not supported"),
    ],
)
def test_model_without_onnx_operators_is_rejected(
    train: Callable[[], Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PackageError, match=message):
        package_model(train(), rows=DIABETES[0], name="m", version="1", into=tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (DIABETES[0][:, :3], "does not accept the rows"),
        ({"input": DIABETES[0]}, "Pass one array, not arrays by name"),
        (["some", "words"], "a LightGBM model accepts only numbers"),
    ],
)
def test_unsuitable_rows_are_rejected(rows: Any, message: str, tmp_path: Path) -> None:
    model = _regressor(*DIABETES)
    with pytest.raises(PackageError, match=message):
        package_model(model, rows=rows, name="m", version="1", into=tmp_path / "models")


def _truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _without_last_trees(content: bytes) -> bytes:
    return content[: content.index(b"Tree=30")]


def _child_out_of_range(content: bytes) -> bytes:
    return content.replace(b"left_child=1", b"left_child=99991")


def _other_text(_: bytes) -> bytes:
    return b"a letter\n"


def _nothing(_: bytes) -> bytes:
    return b""


def _pickled(_: bytes) -> bytes:
    return pickle.dumps(_regressor(*DIABETES))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncated, "is damaged: reading it failed with"),
        (_without_last_trees, "damaged|not a LightGBM model"),
        (_child_out_of_range, "damaged"),
        (_other_text, "not a LightGBM model"),
        (_nothing, "not a LightGBM model"),
        (_pickled, "runs any code that its author put there"),
    ],
)
def test_invalid_file_is_rejected(
    damage: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.txt"
    _regressor(*DIABETES).booster_.save_model(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PackageError, match=message):
        package_model(path, rows=DIABETES[0], name="m", version="1", into=tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_command_packages_file(tmp_path: Path) -> None:
    _classifier(*WINE).booster_.save_model(tmp_path / "wine.txt")
    np.save(tmp_path / "rows.npy", WINE[0])
    arguments = ["--name", "wine", "--version", "1", "--into", str(tmp_path / "models")]
    arguments += ["--rows", str(tmp_path / "rows.npy"), "--json"]
    result = CliRunner().invoke(main, ["package", str(tmp_path / "wine.txt"), *arguments])
    assert result.exit_code == 0, result.output
    assert read_card(tmp_path / "models" / "wine" / "1").source.framework == "lightgbm"


def test_estimator_is_not_detected_as_scikit_learn() -> None:
    """Its class is also a subclass of a scikit-learn class."""
    assert detect_framework(lightgbm.LGBMClassifier()) == "lightgbm"
