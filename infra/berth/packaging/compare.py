"""Compares onnxruntime's predictions with the framework's own."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from berth.packaging.errors import PackageError
from berth.packaging.rows import Array

# FP32 has seven decimal digits. Five must be equal; two allow for a different order of summation.
# skl2onnx tests its own converters with the same precision.
TOLERANCE = 1e-5

# FP16 has three decimal digits. Two must be equal.
HALF_TOLERANCE = 1e-2

Sides = tuple[str, str]
MODEL_AND_FRAMEWORK: Sides = ("model.onnx", "the framework")
SERVED_AND_EXPECTED: Sides = ("the version", "the rows")


@dataclass(frozen=True)
class Difference:
    """The difference between one output and the framework's predictions.

    Both are 0 for outputs that must be equal (labels: integers, booleans, text). If each column has
    its own limit, both belong to the column that is closest to its limit.

    Attributes:
        largest: Largest absolute difference.
        allowed: Maximum allowed difference.
    """

    largest: float
    allowed: float


def compare(
    predictions: dict[str, Array],
    expected: dict[str, Array],
    *,
    unoptimized: Collection[str] = (),
    sides: Sides = MODEL_AND_FRAMEWORK,
) -> dict[str, Difference]:
    """Compare `predictions` with the framework's `expected` predictions by output name.

    Labels must be equal. Numbers may differ by `TOLERANCE`, multiplied by the largest expected
    number of their column if that number exceeds 1. The limit is per column, so that a column of
    large numbers does not raise the limit of others. It is not per number, because the error of a
    small sum of large terms is as large as that of its terms.

    Args:
        unoptimized: Outputs whose expected predictions are those of the same graph without
            optimizations. Their limit is that of the largest number of the output: often there is
            only one row, so that each column has one number.
        sides: Where the predictions and the expected predictions come from, for messages.

    Raises:
        PackageError: If an output differs. The message contains the row, both predictions and
            their difference.
    """
    return {
        name: _compare(
            name, predictions[name], value, by_column=name not in unoptimized, sides=sides
        )
        for name, value in expected.items()
    }


def _compare(
    name: str, prediction: Array, expected: Array, *, by_column: bool, sides: Sides
) -> Difference:
    if prediction.shape != expected.shape:
        raise PackageError(
            f"output {name!r}: {sides[0]} returns shape {list(prediction.shape)}, but "
            f"{sides[1]} {list(expected.shape)}. {_REPORT}"
        )
    if prediction.dtype.kind != "f":
        return _compare_labels(name, prediction, expected, sides)
    if expected.dtype.kind not in "biuf":
        raise PackageError(
            f"output {name!r}: {sides[0]} returns numbers, but {sides[1]} "
            f"{expected.dtype}. {_REPORT}"
        )
    actual, wanted = prediction.astype(np.float64), expected.astype(np.float64)
    magnitudes = np.where(np.isfinite(wanted), np.abs(wanted), 0.0)
    rows = tuple(range(max(1, wanted.ndim - 1))) if wanted.ndim and by_column else None
    scale = np.max(magnitudes, axis=rows, keepdims=True, initial=1.0)
    tolerance = HALF_TOLERANCE if prediction.dtype == np.float16 else TOLERANCE
    allowed = np.broadcast_to(scale * tolerance, wanted.shape)
    same = np.equal(actual, wanted) | (np.isnan(actual) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(actual - wanted))
    distance = np.where(np.isnan(distance), np.inf, distance)
    if not distance.size:
        return Difference(0.0, 0.0)
    worst = np.unravel_index(int(np.argmax(distance / allowed)), distance.shape)
    difference = Difference(float(distance[worst]), float(allowed[worst]))
    if difference.largest > difference.allowed:
        raise PackageError(
            f"output {name!r}: differs by {difference.largest:.3g} at {_format_index(worst)} "
            f"({sides[0]} returns {actual[worst]}, {sides[1]} {wanted[worst]}); "
            f"at most {difference.allowed:.3g} is allowed. {_REPORT}"
        )
    return difference


_REPORT = "Nothing was packaged; check that the rows belong to this model."


def _compare_labels(name: str, prediction: Array, expected: Array, sides: Sides) -> Difference:
    is_text = prediction.dtype.kind in "OU"
    actual = prediction.astype(str) if is_text else prediction
    wanted = expected.astype(str) if is_text else expected
    differs = np.not_equal(actual, wanted)
    if np.any(differs):
        first = np.unravel_index(int(np.argmax(differs)), differs.shape)
        raise PackageError(
            f"output {name!r}: differs in {int(differs.sum())} of {differs.size} labels, first at "
            f"{_format_index(first)} ({sides[0]} returns {actual[first]}, {sides[1]} "
            f"{wanted[first]}); labels must be equal. {_REPORT}"
        )
    return Difference(0.0, 0.0)


def _format_index(index: tuple[np.intp, ...]) -> str:
    row, *rest = (int(i) for i in index) if index else (0,)
    return f"row {row}" + (f", column {', '.join(map(str, rest))}" if rest else "")
