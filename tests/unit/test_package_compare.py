"""How near to the framework's answers onnxruntime's must be."""

import numpy as np
import pytest

from berth.packaging.compare import compare
from berth.packaging.errors import PackageError


def test_large_column_leaves_no_room_to_a_small_one() -> None:
    want = np.array([[1e8, 100.0], [2e8, 200.0]], np.float64)
    near = (want + np.array([100.0, 0.001])).astype(np.float32)
    found = compare({"y": near}, {"y": want})["y"]
    assert found.largest <= found.allowed
    wrong = np.array([[1e8, 100.0], [2e8, 199.0]], np.float32)
    with pytest.raises(PackageError, match=r"differs by 1 at row 1, column 1 .* at most 0\.002"):
        compare({"y": wrong}, {"y": want})


def test_below_one_the_limit_is_absolute() -> None:
    want = np.array([0.5, 1e-9])
    compare({"y": np.array([0.5, 9e-6], np.float32)}, {"y": want})
    with pytest.raises(PackageError, match="row 1"):
        compare({"y": np.array([0.5, 2e-5], np.float32)}, {"y": want})


def test_half_precision_keeps_two_digits() -> None:
    want = np.array([[0.5]])
    compare({"y": np.array([[0.505]], np.float16)}, {"y": want})
    with pytest.raises(PackageError, match="differs"):
        compare({"y": np.array([[0.52]], np.float16)}, {"y": want})


def test_nan_and_infinity_must_be_the_same() -> None:
    want = np.array([np.nan, np.inf, 1.0])
    compare({"y": want.astype(np.float32)}, {"y": want})
    for other in ([0.0, np.inf, 1.0], [np.nan, -np.inf, 1.0], [np.nan, np.inf, np.nan]):
        with pytest.raises(PackageError, match="differs"):
            compare({"y": np.array(other, np.float32)}, {"y": want})


def test_labels_and_shapes_must_be_equal() -> None:
    with pytest.raises(
        PackageError, match=r"1 of 2 places, first at row 1 .* labels must be equal"
    ):
        compare({"label": np.array([1, 2])}, {"label": np.array([1, 3])})
    with pytest.raises(
        PackageError, match=r"has shape \[2\], the framework's answers have \[2, 1\]"
    ):
        compare({"y": np.zeros(2, np.float32)}, {"y": np.zeros((2, 1))})
