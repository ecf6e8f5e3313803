"""scikit-learn models that FP32, missing values, categories or several labels make difficult."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from berth.operations.package import PackagedModel, PackageError, package_model

Array = NDArray[Any]


def _numbers(seed: int = 0, rows: int = 600, columns: int = 6) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def _with_nan(x: Array, share: float = 0.15) -> Array:
    x = x.copy()
    x[np.random.default_rng(9).random(x.shape) < share] = np.nan
    return x


X = _numbers()
Y = (X[:, 0] + X[:, 1] / 2 > 0).astype(int)
MISSING = _with_nan(X)


def _package(model: object, rows: object, into: Path) -> PackagedModel:
    return package_model(model, rows=rows, name="m", version="1", into=into)


def _run(result: PackagedModel, rows: Array) -> list[Array]:
    session = onnxruntime.InferenceSession(result.path / "model.onnx")
    kind = {"FP32": np.float32, "FP64": np.float64}[result.card.inputs[0].datatype]
    outputs: list[Array] = session.run(None, {"input": rows.astype(kind)})
    return outputs


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(51, max_depth=5, random_state=0),
        RandomForestRegressor(20, max_depth=6, random_state=0),
        ExtraTreesClassifier(51, max_depth=5, random_state=0),
        DecisionTreeClassifier(random_state=0),
        DecisionTreeRegressor(max_depth=4, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("training", [MISSING, X], ids=["nan", "complete"])
def test_trees_send_missing_values_where_they_learned(
    model: Any, training: Array, tmp_path: Path
) -> None:
    """The rows have no NaN, so that only the checks of `package` can notice a wrong routing."""
    model.fit(training, Y)
    result = _package(model, np.nan_to_num(X, nan=0.3), tmp_path)
    fresh = _with_nan(_numbers(5, 3000), 0.3)
    outputs = _run(result, fresh)
    expected = model.predict(fresh)
    if hasattr(model, "predict_proba"):
        assert np.sum(outputs[0] != expected) == 0
        np.testing.assert_allclose(outputs[1], model.predict_proba(fresh), atol=1e-5)
    else:
        np.testing.assert_allclose(outputs[0].ravel(), expected, atol=1e-5)


def test_routing_that_is_not_converted_is_rejected_without_such_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("berth.packaging.formats.scikit_learn_graph._set_missing", lambda *_: None)
    model = RandomForestClassifier(51, max_depth=5, random_state=0).fit(MISSING, Y)
    with pytest.raises(PackageError, match=r"For rows with (NaN|only NaN)"):
        _package(model, np.nan_to_num(X, nan=0.3), tmp_path)


def test_split_that_separates_only_missing_values_is_converted(tmp_path: Path) -> None:
    x = X.copy()
    x[Y == 1, 0] = np.nan
    x[Y == 0, 0] = 1.0
    model = RandomForestClassifier(5, max_features=None, random_state=0).fit(x, Y)
    assert np.isinf(model.estimators_[0].tree_.threshold).any()
    result = _package(model, x[:50], tmp_path)
    np.testing.assert_array_equal(_run(result, x)[0], model.predict(x))


def test_thresholds_between_fp32_neighbours_are_exact(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    time = (1.7e9 + 128 * random.integers(0, 200, 2000)).astype(np.float32)[:, None]
    target = np.sin(time[:, 0].astype(np.float64) / 900)
    model = HistGradientBoostingRegressor(max_iter=40, random_state=0).fit(time, target)
    result = _package(model, time[:200], tmp_path)
    assert result.card.inputs[0].datatype == "FP64"
    np.testing.assert_allclose(_run(result, time)[0].ravel(), model.predict(time), atol=1e-6)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "poisson", "gamma"])
def test_losses_of_histogram_boosting_are_converted(loss: Any, tmp_path: Path) -> None:
    target = np.exp(X[:, 0])
    model = HistGradientBoostingRegressor(loss=loss, max_iter=10, random_state=0)
    result = _package(model.fit(MISSING, target), MISSING[:100], tmp_path)
    expected = model.predict(MISSING)
    np.testing.assert_allclose(_run(result, MISSING)[0].ravel(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_categories_of_histogram_boosting_are_converted(classes: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    codes = random.choice([1.0, 4.0, 7.5, 10.0, 40.0, 300.0], 1200)
    x = np.c_[random.normal(size=1200), codes, random.normal(size=1200)]
    x[random.random(x.shape) < 0.1] = np.nan
    y = (np.isin(x[:, 1], [4, 40]) ^ (x[:, 0] > 0.5)).astype(int) + (x[:, 2] > 1) * (classes - 2)
    model = HistGradientBoostingClassifier(categorical_features=[1], random_state=0).fit(x, y)
    result = _package(model, x[:200], tmp_path)
    fresh = np.repeat(x, 2, axis=0)
    fresh[::2, 1] = random.choice([1, 4, 7.5, 7.49, 11, -1, 300, 301, np.nan], 1200)
    label, probabilities = _run(result, fresh)
    assert np.sum(label != model.predict(fresh)) == 0
    np.testing.assert_allclose(probabilities, model.predict_proba(fresh), atol=1e-6)


def test_fp64_inputs_are_used_where_fp32_would_differ(tmp_path: Path) -> None:
    """FP32 represents only every 128th second of a time in seconds since 1970."""
    time = 1.7e9 + np.random.default_rng(0).integers(0, 6000, 3000)[:, None]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(
        time, time[:, 0] % 6000 > 3000
    )
    result = _package(model, time, tmp_path)
    assert result.card.inputs[0].datatype == "FP64"
    np.testing.assert_array_equal(_run(result, time)[0], model.predict(time))


def test_imputer_before_trees_is_exact(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = _with_nan(np.c_[random.integers(18, 90, 600), random.normal(3e4, 1e4, 600)], 0.1)
    y = (np.nan_to_num(x[:, 0]) > 50).astype(int)
    forest = RandomForestClassifier(21, random_state=0)
    model = make_pipeline(SimpleImputer(), StandardScaler(), forest).fit(x, y)
    result = _package(model, x, tmp_path)
    np.testing.assert_array_equal(_run(result, x)[0], model.predict(x))


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(5, random_state=0),
        DecisionTreeClassifier(max_depth=4, random_state=0),
        MultiOutputClassifier(LogisticRegression()),
        OneVsRestClassifier(LogisticRegression()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_several_labels_per_row_are_columns(model: Any, tmp_path: Path) -> None:
    labels = (X[:, :3] > 0).astype(int)
    model.fit(X, labels)
    result = _package(model, X[:50], tmp_path)
    label, probabilities = _run(result, X)
    np.testing.assert_array_equal(label, model.predict(X))
    expected = model.predict_proba(X)
    expected = np.stack(expected, axis=1) if isinstance(expected, list) else expected
    assert probabilities.shape == expected.shape
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert result.card.has_rows


def test_labels_with_different_numbers_of_classes_are_rejected(tmp_path: Path) -> None:
    labels = np.c_[X[:, 0] > 0, np.digitize(X[:, 1], [-0.5, 0.5])].astype(int)
    with pytest.raises(PackageError, match=r"different numbers of classes \(2, 3\)"):
        _package(DecisionTreeClassifier(max_depth=3).fit(X, labels), X[:50], tmp_path)


TEXTS = ["good film", "bad film", "Très bon", "not good", "C++ & C#", "价格 很 好", "", "don't"]


@pytest.mark.parametrize(
    ("model", "rows", "labels", "hint"),
    [
        (
            make_pipeline(TfidfVectorizer(), LogisticRegression()),
            TEXTS * 20,
            [1, 0, 1, 0, 1, 1, 0, 0] * 20,
            r"token_pattern='\[a-zA-Z0-9_\]\+'",
        ),
        pytest.param(
            CalibratedClassifierCV(
                RandomForestClassifier(30, max_depth=10, random_state=1), method="isotonic", cv=3
            ),
            _numbers(2, 4000, 8),
            (_numbers(2, 4000, 8) @ np.arange(8) + _numbers(3, 4000, 1)[:, 0] > 0).astype(int),
            "method='sigmoid'",
            marks=pytest.mark.slow,
        ),
        (
            MLPClassifier(max_iter=30, random_state=0),
            X,
            (X[:, :2] > 0).astype(int),
            "OneVsRestClassifier",
        ),
    ],
    ids=["text", "isotonic", "network"],
)
@pytest.mark.filterwarnings("ignore")
def test_rejection_names_the_option_that_helps(
    model: Any, rows: Any, labels: Any, hint: str, tmp_path: Path
) -> None:
    model.fit(rows, labels)
    with pytest.raises(PackageError, match=hint):
        _package(model, rows[:1000], tmp_path)


def test_suggested_token_pattern_is_accepted(tmp_path: Path) -> None:
    vectorizer = TfidfVectorizer(token_pattern="[a-zA-Z0-9_]+")
    model = make_pipeline(vectorizer, LogisticRegression())
    model.fit(TEXTS * 20, [1, 0, 1, 0, 1, 1, 0, 0] * 20)
    assert _package(model, TEXTS, tmp_path).rows == len(TEXTS)


def test_rows_that_all_contain_nan_are_accepted(tmp_path: Path) -> None:
    x = X.copy()
    x[np.arange(len(x)), np.random.default_rng(0).integers(1, 6, len(x))] = np.nan
    result = _package(HistGradientBoostingClassifier(random_state=0).fit(x, Y), x, tmp_path)
    assert result.card.example_file == "example.bin"
