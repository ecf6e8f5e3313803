"""Comparing onnxruntime's predictions with the framework's."""

import numpy as np
import pytest

from berth.packaging.compare import compare
from berth.packaging.errors import PackageError


def test_large_column_does_not_raise_limit_of_small_column() -> None:
    want = np.array([[1e8, 100.0], [2e8, 200.0]], np.float64)
    near = (want + np.array([100.0, 0.001])).astype(np.float32)
    difference = compare({"y": near}, {"y": want})["y"]
    assert difference.largest <= difference.allowed
    wrong = np.array([[1e8, 100.0], [2e8, 199.0]], np.float32)
    with pytest.raises(PackageError, match=r"differs by 1 at row 1, column 1 .* at most 0\.002"):
        compare({"y": wrong}, {"y": want})


def test_limit_is_absolute_for_values_below_one() -> None:
    want = np.array([0.5, 1e-9])
    compare({"y": np.array([0.5, 9e-6], np.float32)}, {"y": want})
    with pytest.raises(PackageError, match="row 1"):
        compare({"y": np.array([0.5, 2e-5], np.float32)}, {"y": want})


def test_fp16_must_match_two_digits() -> None:
    want = np.array([[0.5]])
    compare({"y": np.array([[0.505]], np.float16)}, {"y": want})
    with pytest.raises(PackageError, match="differs"):
        compare({"y": np.array([[0.52]], np.float16)}, {"y": want})


def test_nan_and_infinity_must_be_equal() -> None:
    want = np.array([np.nan, np.inf, 1.0])
    compare({"y": want.astype(np.float32)}, {"y": want})
    for other in ([0.0, np.inf, 1.0], [np.nan, -np.inf, 1.0], [np.nan, np.inf, np.nan]):
        with pytest.raises(PackageError, match="differs"):
            compare({"y": np.array(other, np.float32)}, {"y": want})


def test_labels_and_shapes_must_be_equal() -> None:
    with pytest.raises(
        PackageError, match=r"1 of 2 labels, first at row 1 .* labels must be equal"
    ):
        compare({"label": np.array([1, 2])}, {"label": np.array([1, 3])})
    with pytest.raises(
        PackageError,
        match=r"returns shape \[2\], but the framework \[2, 1\]",
    ):
        compare({"y": np.zeros(2, np.float32)}, {"y": np.zeros((2, 1))})
