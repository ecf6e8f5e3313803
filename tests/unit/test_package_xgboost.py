"""Packaging XGBoost models: same predictions, also for values at thresholds."""

import json
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

xgboost = pytest.importorskip(
    "xgboost",
    reason="XGBoost is not installed: pip install 'berth[xgboost]'",
)

WINE = load_wine(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
# Use one thread: several would wait for each other if tests share the CPUs.
SIZE = {"n_estimators": 40, "max_depth": 5, "n_jobs": 1}


def _with_missing_values(rows: Any) -> Any:
    return np.where(np.random.default_rng(0).random(rows.shape) < 0.3, np.nan, rows)


def _regressor(rows: Any, truth: Any, **more: Any) -> Any:
    return xgboost.XGBRegressor(**SIZE, **more).fit(rows, truth)


def _train_with_early_stopping() -> Any:
    rows, labels = WINE
    model = xgboost.XGBClassifier(n_estimators=200, n_jobs=1, early_stopping_rounds=3)
    model.fit(rows[::2], labels[::2], eval_set=[(rows[1::2], labels[1::2])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    return model


def _survival() -> Any:
    bounds = {"label_lower_bound": DIABETES[1], "label_upper_bound": DIABETES[1]}
    return xgboost.train(
        {"objective": "survival:aft", "nthread": 1}, xgboost.DMatrix(DIABETES[0], **bounds), 20
    )


def _categories() -> Any:
    """Return rows and target: a column with many categories, one with few, and one of numbers."""
    random = np.random.default_rng(0)
    rows = np.c_[random.integers(0, 40, 800), random.integers(0, 3, 800), random.random(800)]
    return rows, (rows[:, 0] % 3 == 1) * 2.0 + (rows[:, 1] == 2) + rows[:, 2]


def _train_on_categories() -> Any:
    rows, truth = _categories()
    data = xgboost.DMatrix(rows, truth, feature_types=["c", "c", "q"], enable_categorical=True)
    return xgboost.train({"max_cat_to_onehot": 2, "nthread": 1}, data, 20)


MODELS: dict[str, tuple[Callable[[], Any], Any]] = {
    "two classes": (lambda: xgboost.XGBClassifier(**SIZE).fit(*CANCER), CANCER[0]),
    "three classes": (lambda: xgboost.XGBClassifier(**SIZE).fit(*WINE), WINE[0]),
    "forest": (lambda: xgboost.XGBRFClassifier(n_estimators=20, n_jobs=1).fit(*WINE), WINE[0]),
    "stopped early": (_train_with_early_stopping, WINE[0]),
    "regression": (lambda: _regressor(*DIABETES), DIABETES[0]),
    "missing values": (
        lambda: _regressor(_with_missing_values(DIABETES[0]), DIABETES[1]),
        np.vstack([DIABETES[0], _with_missing_values(DIABETES[0])]),
    ),
    "dart": (lambda: _regressor(*DIABETES, booster="dart", rate_drop=0.3), DIABETES[0]),
    "poisson": (lambda: _regressor(*DIABETES, objective="count:poisson"), DIABETES[0]),
    "share": (
        lambda: _regressor(DIABETES[0], DIABETES[1] / 400, objective="reg:logistic"),
        DIABETES[0],
    ),
    "quantiles": (
        lambda: _regressor(*DIABETES, objective="reg:quantileerror", quantile_alpha=[0.1, 0.9]),
        DIABETES[0],
    ),
    "two targets": (
        lambda: _regressor(DIABETES[0], np.c_[DIABETES[1], DIABETES[1] ** 2]),
        DIABETES[0],
    ),
    "survival": (_survival, DIABETES[0]),
    "categories": (
        _train_on_categories,
        np.vstack([_categories()[0], [[-1, 0, 0], [-0.5, 1, 0], [1.5, 2, 0], [99, 7, 0]]]),
    ),
    "no split": (lambda: _regressor(*DIABETES, gamma=1e12), DIABETES[0]),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_packaged_model_gives_same_predictions_at_thresholds(model: str, tmp_path: Path) -> None:
    train, rows = MODELS[model]
    trained = train()
    first = package_model(trained, rows=rows, name="m", version="1", into=tmp_path)
    assert first.card.inputs[0].datatype == "FP32"
    rows_at_thresholds = add_rows_at_thresholds(first.path / "model.onnx", rows)
    packaged = package_model(trained, rows=rows_at_thresholds, name="m", version="2", into=tmp_path)
    assert packaged.rows == len(rows_at_thresholds)
    assert all(each.largest <= each.allowed for each in packaged.differences.values())
    saved = tmp_path / ("saved.ubj" if len(model) % 2 else "saved.json")
    trained.save_model(saved)
    again = package_model(saved, rows=rows, name="m", version="1", into=tmp_path)
    assert not again.changed


def test_card_of_classifier_has_label_and_probabilities(tmp_path: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(*WINE)
    packaged = package_model(model, rows=WINE[0], name="wine", version="1", into=tmp_path)
    assert [tensor.name for tensor in packaged.card.outputs] == ["label", "probabilities"]
    assert [tensor.shape for tensor in packaged.card.outputs] == [[-1], [-1, 3]]
    assert packaged.card.source.framework_version == xgboost.__version__


def test_booster_uses_all_trees(tmp_path: Path) -> None:
    """An estimator uses the trees up to its best iteration; its booster uses all of them."""
    model = _train_with_early_stopping()
    package_model(model, rows=WINE[0], name="m", version="1", into=tmp_path)
    with pytest.raises(PackageError, match="exists and differs"):
        package_model(model.get_booster(), rows=WINE[0], name="m", version="1", into=tmp_path)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (lambda: xgboost.XGBRegressor(), "model is not fitted"),
        (lambda: _regressor(*DIABETES, booster="gblinear"), "booster gblinear: not supported"),
        (
            lambda: _regressor(
                DIABETES[0],
                np.c_[DIABETES[1], DIABETES[1]],
                multi_strategy="multi_output_tree",
            ),
            "no operator for leaves with several",
        ),
        (
            lambda: xgboost.train(
                {"objective": "multi:softmax", "num_class": 3}, xgboost.DMatrix(*WINE), 2
            ),
            "objective multi:softmax: not supported",
        ),
        (lambda: _regressor(*DIABETES, missing=0.0), "supports only NaN as a missing value"),
    ],
)
def test_model_without_onnx_operators_is_rejected(
    train: Callable[[], Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PackageError, match=message):
        package_model(train(), rows=DIABETES[0], name="m", version="1", into=tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_rows_with_too_few_columns_are_rejected(tmp_path: Path) -> None:
    model = _regressor(*DIABETES)
    with pytest.raises(PackageError, match="does not accept the rows"):
        package_model(model, rows=DIABETES[0][:, :3], name="m", version="1", into=tmp_path / "m")


def _other_json(_: bytes) -> bytes:
    return json.dumps({"learner": {}}).encode()


def _truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _nothing(_: bytes) -> bytes:
    return b""


def _random(_: bytes) -> bytes:
    return np.random.default_rng(0).bytes(2000)


def _pickled(_: bytes) -> bytes:
    return pickle.dumps(xgboost.XGBRegressor(n_estimators=2).fit(*DIABETES))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["json", "ubj"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_other_json, "not an XGBoost model"),
        (_truncated, "not an XGBoost model"),
        (_nothing, "not an XGBoost model"),
        (_random, "not an XGBoost model"),
        (_pickled, "runs any code that its author put there"),
    ],
)
def test_invalid_file_is_rejected(
    damage: Callable[[bytes], bytes], message: str, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"model.{ending}"
    _regressor(*DIABETES).save_model(path)
    path.write_bytes(damage(path.read_bytes()))
    np.save(tmp_path / "rows.npy", DIABETES[0])
    arguments = ["--name", "m", "--version", "1", "--into", str(tmp_path / "models")]
    arguments += ["--rows", str(tmp_path / "rows.npy")]
    result = CliRunner().invoke(main, ["package", str(path), *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert "Stack trace" not in result.output
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_command_packages_file(tmp_path: Path) -> None:
    xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(*WINE).save_model(tmp_path / "wine.json")
    np.save(tmp_path / "rows.npy", WINE[0])
    arguments = ["--name", "wine", "--version", "1", "--into", str(tmp_path / "models")]
    arguments += ["--rows", str(tmp_path / "rows.npy"), "--json"]
    result = CliRunner().invoke(main, ["package", str(tmp_path / "wine.json"), *arguments])
    assert result.exit_code == 0, result.output
    assert read_card(tmp_path / "models" / "wine" / "1").source.framework == "xgboost"


def test_function_that_returns_estimator_is_recorded_in_card(tmp_path: Path) -> None:
    script = tmp_path / "train_boosted.py"
    script.write_text(
        "import xgboost\n"
        "from sklearn.datasets import load_wine\n"
        "def build():\n"
        "    rows, labels = load_wine(return_X_y=True)\n"
        "    return xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(rows, labels), rows\n"
    )
    packaged = package_model(f"{script}:build", name="wine", version="1", into=tmp_path / "models")
    assert packaged.card.source.trained_by.endswith("train_boosted.py:build")


def test_estimator_is_not_detected_as_scikit_learn() -> None:
    """Its class is also a subclass of a scikit-learn class."""
    assert detect_framework(xgboost.XGBClassifier()) == "xgboost"
