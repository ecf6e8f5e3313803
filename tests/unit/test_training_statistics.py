"""Statistics of training data that a packaged version contains."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from berth.operations.package import PackagedModel, PackageError, package_model
from berth.packaging.training_statistics import build_statistics
from berth_protocol.model_card import Tensor, verify_files
from berth_protocol.training_statistics import Feature, Kind, Side, read_statistics


def _frame(rows: int = 500) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "income": random.normal(size=rows),
            "city": random.choice(["Rome", "Berlin", "Paris"], rows, p=[0.5, 0.3, 0.2]),
            "churned": random.integers(0, 2, rows),
        }
    )


@pytest.fixture(scope="module")
def table_model() -> tuple[Any, pd.DataFrame]:
    """A model of two named columns, and its rows."""
    frame = _frame()
    columns = ColumnTransformer(
        [("city", OneHotEncoder(), ["city"]), ("income", StandardScaler(), ["income"])]
    )
    rows = frame[["income", "city"]]
    return make_pipeline(columns, LogisticRegression()).fit(rows, frame.churned), rows


def _package(model: object, rows: object, into: Path, reference: object) -> PackagedModel:
    return package_model(
        model, rows=rows, name="m", version="1", into=into, reference_data=reference
    )


def _describe(values: Any, datatype: str = "FP64", shape: list[int] | None = None) -> list[Feature]:
    """Return the features of one input whose model returns nothing."""
    array = np.asarray(values)
    tensor = Tensor("x", datatype, shape or [-1, *array.shape[1:]])
    return build_statistics(lambda _: {}, {"x": array}, [tensor], []).features


def test_csv_with_labels_becomes_statistics_of_inputs_and_outputs(
    tmp_path: Path, table_model: tuple[Any, pd.DataFrame]
) -> None:
    _frame().to_csv(tmp_path / "train.csv", index=False)
    result = _package(*table_model, tmp_path / "models", str(tmp_path / "train.csv"))
    assert result.card.statistics == "statistics.json"
    verify_files(result.path, result.card)
    statistics = read_statistics(result.path / result.card.statistics)
    assert statistics.rows == 500
    described = {(str(f.side), f.tensor, f.column_label) for f in statistics.features}
    assert described == {
        ("input", "income", "0"),
        ("input", "city", "0"),
        ("output", "label", "0"),
        ("output", "probabilities", "0"),
        ("output", "probabilities", "1"),
    }
    city = next(f for f in statistics.features if f.tensor == "city")
    shares = dict(zip(city.bin_labels(), city.counts, strict=True))
    assert shares == {
        **{f"={name}": n for name, n in _frame().city.value_counts().items()},
        "other": 0,
        "missing": 0,
    }
    assert any("500 reference rows" in note for note in result.notes)


def test_version_without_reference_data_has_no_statistics(
    tmp_path: Path, table_model: tuple[Any, pd.DataFrame]
) -> None:
    result = _package(*table_model, tmp_path, None)
    assert result.card.statistics == ""
    assert not (result.path / "statistics.json").exists()


def test_same_reference_data_gives_the_same_version(
    tmp_path: Path, table_model: tuple[Any, pd.DataFrame]
) -> None:
    model, rows = table_model
    first = _package(model, rows, tmp_path, rows)
    assert not _package(model, rows, tmp_path, rows).changed
    assert first.changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[["income"]], "rows for the inputs city are missing"),
        (lambda rows: rows[:99], "99 rows are too few"),
        (lambda rows: rows.assign(income="high"), "contains text; the model expects"),
        (lambda _: "missing.csv", "cannot read the reference data"),
        (lambda _: "data.xlsx", "cannot be read. Use .csv, .parquet, .npy, .npz"),
    ],
)
def test_unsuitable_reference_data_packages_nothing(
    tmp_path: Path, table_model: tuple[Any, pd.DataFrame], change: Any, message: str
) -> None:
    model, rows = table_model
    with pytest.raises(PackageError, match=message):
        _package(model, rows, tmp_path / "models", change(rows))
    assert not (tmp_path / "models").exists()


def test_matrix_in_csv_is_read_in_the_order_of_its_columns(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = random.normal([0.0, 100.0], size=(200, 2)).astype(np.float32)
    model = LogisticRegression().fit(rows, rows[:, 0] > 0)
    pd.DataFrame(rows, columns=["a", "b"]).to_csv(tmp_path / "train.csv", index=False)
    result = _package(model, rows, tmp_path / "models", tmp_path / "train.csv")
    features = read_statistics(result.path / "statistics.json").features
    middles = [f.edges[4] for f in features if f.tensor == "input"]
    assert middles == pytest.approx([0.0, 100.0], abs=0.5)
    pd.DataFrame({"a": rows[:, 0]}).to_csv(tmp_path / "short.csv", index=False)
    with pytest.raises(PackageError, match="has 2 numbers in each row"):
        _package(model, rows, tmp_path / "other", tmp_path / "short.csv")


def test_bins_of_numbers_have_equal_shares_and_count_missing_ones() -> None:
    numbers = np.arange(1000, dtype=np.float64)[:, None]
    numbers[::10] = math.nan
    (feature,) = _describe(numbers)
    assert feature.kind is Kind.NUMBER
    assert feature.counts[-1] == 100
    assert max(feature.counts[:-1]) - min(feature.counts[:-1]) <= 1


def test_few_values_get_a_bin_each_and_rare_ones_share_one() -> None:
    numbers = np.array([[1.0]] * 300 + [[2.0]] * 200 + [[7.0]] * 3)
    (feature,) = _describe(numbers)
    assert feature.kind is Kind.VALUE
    assert dict(zip(feature.bin_labels(), feature.counts, strict=True)) == {
        "=1": 300,
        "=2": 200,
        "other": 3,
        "missing": 0,
    }


def test_rare_text_is_not_stored() -> None:
    texts = np.array([["yes"]] * 200 + [["ann@example.com"]] * 3, object)
    (feature,) = _describe(texts, "BYTES")
    assert feature.values == ["yes"]
    assert feature.counts == [200, 3, 0]


def test_free_text_is_described_by_its_length() -> None:
    texts = np.array([["x" * (number % 90)] for number in range(500)], object)
    (feature,) = _describe(texts, "BYTES")
    assert (feature.kind, feature.values) == (Kind.LENGTH, [])
    assert sum(feature.counts) == 500


@pytest.mark.parametrize(
    ("shape", "declared"), [((200, 3, 8, 8), [-1, 3, 8, 8]), ((200, 5), [-1, -1])]
)
def test_wide_or_varying_rows_are_summarized(shape: tuple[int, ...], declared: list[int]) -> None:
    values = np.random.default_rng(2).normal(size=shape)
    features = _describe(values, shape=declared)
    assert [feature.kind for feature in features] == [Kind.MEAN, Kind.DEVIATION]


def test_columns_beyond_the_limit_are_omitted() -> None:
    values = np.random.default_rng(3).normal(size=(200, 30))
    tensors = [Tensor(name, "FP64", [-1, 30]) for name in "abc"]
    feeds = dict.fromkeys("abc", values)
    statistics = build_statistics(lambda _: {}, feeds, tensors, [])
    assert len(statistics.features) == 60
    assert statistics.omitted == ["c"]
    assert {feature.side for feature in statistics.features} == {Side.INPUT}


def test_model_without_independent_rows_is_rejected(
    tmp_path: Path, table_model: tuple[Any, pd.DataFrame]
) -> None:
    model, rows = table_model
    with pytest.raises(PackageError, match="no independent rows"):
        package_model(
            model,
            rows=rows,
            name="m",
            version="1",
            into=tmp_path,
            has_rows=False,
            reference_data=rows,
        )
