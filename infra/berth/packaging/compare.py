"""Holds onnxruntime's answers against the framework's own."""

from dataclasses import dataclass

import numpy as np

from berth.packaging.errors import PackageError
from berth.packaging.rows import Array

# FP32 carries seven decimal digits; five of them must be right, which leaves two for the order in
# which a model's sums are taken. It is the precision that skl2onnx tests its own converters to.
TOLERANCE = 1e-5

# FP16 carries three decimal digits; two of them must be right.
HALF_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Difference:
    """How far one output is from the framework's answers.

    `largest` is the largest absolute difference, `allowed` the most that it may be; both are 0
    where the answers must be equal (labels: integers, booleans, text). Where columns may differ by
    different amounts, both are those of the column that comes closest to its limit.
    """

    largest: float
    allowed: float


def compare(answers: dict[str, Array], expected: dict[str, Array]) -> dict[str, Difference]:
    """Compare `answers` with what the framework `expected`, by output name.

    Labels must be equal; numbers may differ by `TOLERANCE`, scaled by the largest expected number
    of their column where that is above 1. Per column, so that one of large numbers leaves no room
    to the others; not per number, because a small sum of large terms is as exact as its terms.

    Raises:
        PackageError: an output differs; the message gives row, both answers and their distance.
    """
    return {name: _compare(name, answers[name], value) for name, value in expected.items()}


def _compare(name: str, answer: Array, expected: Array) -> Difference:
    if answer.shape != expected.shape:
        raise PackageError(
            f"output {name!r}: has shape {list(answer.shape)}, "
            f"the framework's answers have {list(expected.shape)}"
        )
    if answer.dtype.kind != "f":
        return _compare_labels(name, answer, expected)
    if expected.dtype.kind not in "biuf":
        raise PackageError(f"output {name!r}: is a number, the framework answers {expected.dtype}")
    got, want = answer.astype(np.float64), expected.astype(np.float64)
    sizes = np.where(np.isfinite(want), np.abs(want), 0.0)
    rows = tuple(range(max(1, want.ndim - 1))) if want.ndim else None
    scale = np.max(sizes, axis=rows, keepdims=True, initial=1.0)
    tolerance = HALF_TOLERANCE if answer.dtype == np.float16 else TOLERANCE
    allowed = np.broadcast_to(scale * tolerance, want.shape)
    same = np.equal(got, want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(got - want))
    distance = np.where(np.isnan(distance), np.inf, distance)
    if not distance.size:
        return Difference(0.0, 0.0)
    worst = np.unravel_index(int(np.argmax(distance / allowed)), distance.shape)
    found = Difference(float(distance[worst]), float(allowed[worst]))
    if found.largest > found.allowed:
        raise PackageError(
            f"output {name!r}: differs by {found.largest:.3g} at {_place(worst)} "
            f"(model.onnx gives {got[worst]}, the framework {want[worst]}); "
            f"at most {found.allowed:.3g} is allowed"
        )
    return found


def _compare_labels(name: str, answer: Array, expected: Array) -> Difference:
    text = answer.dtype.kind in "OU"
    got = answer.astype(str) if text else answer
    want = expected.astype(str) if text else expected
    differs = np.not_equal(got, want)
    if np.any(differs):
        first = np.unravel_index(int(np.argmax(differs)), differs.shape)
        raise PackageError(
            f"output {name!r}: differs at {int(differs.sum())} of {differs.size} places, first at "
            f"{_place(first)} (model.onnx gives {got[first]}, the framework {want[first]}); "
            "labels must be equal"
        )
    return Difference(0.0, 0.0)


def _place(index: tuple[np.intp, ...]) -> str:
    row, *rest = (int(i) for i in index) if index else (0,)
    return f"row {row}" + (f", column {', '.join(map(str, rest))}" if rest else "")
