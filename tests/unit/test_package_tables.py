"""Tables of named columns: one input per column, with text, numbers and categories."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from berth.operations.package import PackagedModel, PackageError, package_model

_CITIES = ["Rome", "Berlin", "Paris"]


def _table(rows: int = 400, seed: int = 0) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": random.integers(18, 90, rows),
            "income (€)": random.normal(3e4, 1e4, rows),
            "city": random.choice(_CITIES, rows),
            "member": random.random(rows) > 0.5,
            "score": random.normal(size=rows),
        }
    )
    frame.loc[::7, "score"] = np.nan
    target = (frame.age > 50) ^ (frame.city == "Paris") ^ (frame.member & (frame.age > 70))
    return frame, target.to_numpy().astype(np.int64)


def _with_categories(frame: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = frame.copy()
    frame["city"] = pd.Categorical(frame["city"], categories=_CITIES)
    frame["zone"] = pd.Categorical(random.choice([7, 5, 1], len(frame)))
    frame.loc[::5, "city"] = np.nan
    frame.loc[::6, "zone"] = np.nan
    return frame


def _package(model: object, rows: object, into: Path) -> PackagedModel:
    return package_model(model, rows=rows, name="m", version="1", into=into)


def _run(result: PackagedModel, frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Run the model on the columns as a client sends them: missing text is empty."""
    kinds = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}
    feeds = {}
    for tensor in result.card.inputs:
        values = frame[tensor.name].astype(object).to_numpy()[:, None]
        if tensor.datatype == "BYTES":
            values = np.where(pd.isna(values), "", values).astype(object)
        feeds[tensor.name] = (
            values if tensor.datatype == "BYTES" else values.astype(kinds[tensor.datatype])
        )
    session = onnxruntime.InferenceSession(result.path / "model.onnx")
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def _encode_columns() -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore"), ["city"]),
            (
                "numbers",
                make_pipeline(SimpleImputer(), StandardScaler()),
                ["age", "income (€)", "score"],
            ),
        ]
    )


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), RandomForestClassifier(21, random_state=0)],
    ids=lambda model: type(model).__name__,
)
def test_columns_of_text_and_numbers_become_inputs(estimator: Any, tmp_path: Path) -> None:
    frame, target = _table()
    model = make_pipeline(_encode_columns(), estimator).fit(frame, target)
    result = _package(model, frame[:100], tmp_path)
    assert [tensor.name for tensor in result.card.inputs] == list(frame.columns)
    assert all(tensor.shape == [-1, 1] for tensor in result.card.inputs)
    types = {tensor.name: tensor.datatype for tensor in result.card.inputs}
    assert types["city"] == "BYTES"
    assert result.card.has_rows
    fresh, _ = _table(1000, 5)
    fresh["city"] = np.random.default_rng(0).choice([*_CITIES, "Oslo", ""], 1000)
    outputs = _run(result, fresh)
    np.testing.assert_array_equal(outputs["label"], model.predict(fresh))
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(fresh), atol=1e-5)


def test_columns_that_pass_through_are_inputs(tmp_path: Path) -> None:
    frame, target = _table()
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("text", encoder, ["city"])], remainder="passthrough")
    model = make_pipeline(columns, RandomForestRegressor(20, random_state=0)).fit(frame, target)
    result = _package(model, frame[:100], tmp_path)
    fresh, _ = _table(1000, 5)
    expected = model.predict(fresh)
    np.testing.assert_allclose(_run(result, fresh)["prediction"].ravel(), expected, atol=1e-5)


def test_matrix_of_objects_becomes_numbered_columns(tmp_path: Path) -> None:
    frame, target = _table()
    rows = frame[["city", "age"]].to_numpy(object)
    columns = ColumnTransformer([("c", OneHotEncoder(), [0]), ("n", StandardScaler(), [1])])
    model = make_pipeline(columns, LogisticRegression()).fit(rows, target)
    result = _package(model, rows[:50], tmp_path)
    assert [tensor.name for tensor in result.card.inputs] == ["column_0", "column_1"]


@pytest.mark.parametrize(
    "model",
    [LinearRegression(), RandomForestClassifier(21, random_state=0)],
    ids=lambda model: type(model).__name__,
)
def test_columns_of_numbers_without_transformer_become_inputs(model: Any, tmp_path: Path) -> None:
    frame, target = _table()
    frame = frame[["age", "income (€)", "member"]]
    model.fit(frame, target)
    result = _package(model, frame[:100], tmp_path)
    assert [tensor.name for tensor in result.card.inputs] == list(frame.columns)
    fresh = _table(1000, 5)[0][list(frame.columns)]
    first = next(iter(_run(result, fresh).values()))
    np.testing.assert_allclose(first.ravel(), model.predict(fresh), rtol=1e-4, atol=1e-4)


def test_pandas_categories_of_scikit_learn_are_in_card(tmp_path: Path) -> None:
    frame, target = _table()
    frame = _with_categories(frame)
    model = HistGradientBoostingClassifier(max_iter=20, categorical_features="from_dtype")
    model.fit(frame, target)
    result = _package(model, frame[:100], tmp_path)
    categories = {tensor.name: tensor.categories for tensor in result.card.inputs}
    assert sorted(map(str, categories["city"])) == sorted(_CITIES)
    assert categories["zone"] == [1, 5, 7]
    fresh = _with_categories(_table(1000, 5)[0], 6)
    np.testing.assert_array_equal(_run(result, fresh)["label"], model.predict(fresh))


def test_pandas_categories_of_lightgbm_are_in_card(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    frame, target = _table(600)
    frame = _with_categories(frame)
    model = lightgbm.LGBMClassifier(n_estimators=20, min_data_per_group=5, verbose=-1)
    model.fit(frame, target)
    result = _package(model, frame[:100], tmp_path)
    categories = {tensor.name: tensor.categories for tensor in result.card.inputs}
    assert categories["city"] == _CITIES
    assert categories["zone"] == [1, 5, 7]
    fresh = _with_categories(_table(1000, 5)[0], 6)
    # Unknown categories are missing values for LightGBM.
    texts = np.random.default_rng(0).choice([*_CITIES, "Oslo"], 1000)
    fresh["city"] = pd.Categorical(texts, categories=["Oslo", *_CITIES])
    outputs = _run(result, fresh)
    np.testing.assert_array_equal(outputs["label"], model.predict(fresh))
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(fresh), atol=1e-6)


@pytest.mark.parametrize("onehot", [1, 4])
def test_pandas_categories_of_xgboost_are_in_card(onehot: int, tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    frame, target = _table(600)
    frame = _with_categories(frame)
    model = xgboost.XGBClassifier(
        n_estimators=20, enable_categorical=True, max_cat_to_onehot=onehot
    )
    model.fit(frame, target)
    result = _package(model, frame[:100], tmp_path)
    categories = {tensor.name: tensor.categories for tensor in result.card.inputs}
    assert categories["city"] == _CITIES
    assert categories["zone"] == [1, 5, 7]
    fresh = _with_categories(_table(1000, 5)[0], 6)
    outputs = _run(result, fresh)
    np.testing.assert_array_equal(outputs["label"], model.predict(fresh))
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(fresh), atol=1e-6)


def test_order_of_categories_in_rows_does_not_matter(tmp_path: Path) -> None:
    """The codes of pandas depend on the frame, the codes of the model on its training data."""
    xgboost = pytest.importorskip("xgboost")
    frame, target = _table()
    frame = _with_categories(frame)
    model = xgboost.XGBClassifier(n_estimators=5, enable_categorical=True).fit(frame, target)
    rows = frame[:100].copy()
    rows["city"] = rows["city"].cat.set_categories(sorted(_CITIES))
    result = _package(model, rows, tmp_path)
    (city,) = [tensor for tensor in result.card.inputs if tensor.name == "city"]
    assert city.categories == _CITIES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.assign(city=f.city.where(f.index != 3)),
            "column 'city' contains missing text",
        ),
        (
            lambda f: f.assign(age=pd.Timestamp("2026-01-01")),
            "column 'age' contains values of type",
        ),
        (lambda f: f[:0], "the DataFrame is empty"),
        (lambda f: pd.concat([f, f[["age"]]], axis=1), "duplicate or empty: age"),
    ],
)
def test_table_that_cannot_be_converted_is_rejected_with_reason(
    change: Any, message: str, tmp_path: Path
) -> None:
    frame, target = _table()
    model = make_pipeline(_encode_columns(), LogisticRegression()).fit(frame, target)
    with pytest.raises(PackageError, match=message):
        _package(model, change(frame), tmp_path)


def test_text_column_of_boosted_trees_is_rejected_with_the_way_out(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    frame, target = _table()
    model = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(frame[["age"]], target)
    with pytest.raises(PackageError, match=r"columns city contain text.*astype\('category'\)"):
        _package(model, frame[["city"]], tmp_path)
