"""How the predictions of two versions of a model differ on the same rows.

Pure functions on arrays. An answer is what a client acts on: the labels of a model, or for a model
without labels the position of the highest score, or for one number a row the number itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from berth.packaging.compare import HALF_TOLERANCE, TOLERANCE
from berth.packaging.rows import Array

_SHOWN_ROWS = 5
# The 97.5th percentile of the normal distribution: an interval of 95%.
_Z = 1.959964


@dataclass(frozen=True, kw_only=True)
class ChangedRow:
    """A row whose predictions differ.

    Attributes:
        row: Its number in the file of rows, from 0.
        before: The earlier answer as text.
        after: The later answer as text.
        difference: Largest difference of a number, relative to the largest number of its output.
    """

    row: int
    before: str
    after: str
    difference: float


@dataclass(frozen=True, kw_only=True)
class OutputDifference:
    """The difference of one output.

    Attributes:
        name: Name of the output.
        rows: Number of rows in which it differs: labels if they are not equal, numbers if they
            differ by more than `berth package` allows between a framework and ONNX.
        largest: Largest absolute difference. None for labels.
        mean: Mean absolute difference. None for labels.
    """

    name: str
    rows: int
    largest: float | None
    mean: float | None


@dataclass(frozen=True, kw_only=True)
class PredictionDiff:
    """The comparison of two versions.

    Attributes:
        model: Name of the model.
        before: Version that clients reach today.
        after: Version that receives more traffic.
        source: Where the rows come from.
        rows: Number of rows.
        changed: Number of rows with another answer.
        outputs: The difference of each output.
        most_changed: Rows that differ most, those with another answer first.
        metrics: Metric -> its values before and after.
        problem: Why the versions are not compared, or empty.
    """

    model: str
    before: str
    after: str
    source: str = ""
    rows: int = 0
    changed: int = 0
    outputs: tuple[OutputDifference, ...] = ()
    most_changed: tuple[ChangedRow, ...] = ()
    metrics: Mapping[str, tuple[float | None, float | None]] | None = None
    problem: str = ""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the share of answers that change, for rows like these."""
        return wilson_interval(self.changed, self.rows)


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of a proportion.

    https://doi.org/10.1080/01621459.1927.10502953
    """
    if not total:
        return 0.0, 1.0
    share, square = count / total, _Z * _Z
    center = (share + square / (2 * total)) / (1 + square / total)
    half = _Z / (1 + square / total)
    half *= math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    return max(0.0, center - half), min(1.0, center + half)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The difference between two sets of predictions, by row and by output."""

    rows: int
    changed: int
    outputs: tuple[OutputDifference, ...]
    most_changed: tuple[ChangedRow, ...]


def compare_predictions(before: Mapping[str, Array], after: Mapping[str, Array]) -> Comparison:
    """Return how the predictions differ. All arrays have one entry for each row.

    Raises:
        ValueError: If an output of `before` is missing in `after`, or has another shape.
    """
    for name, value in before.items():
        if name not in after or after[name].shape != value.shape:
            found = list(after[name].shape) if name in after else "missing"
            raise ValueError(f"output '{name}' has shape {list(value.shape)}, and then is {found}")
    rows = len(next(iter(before.values())))
    distances = {
        name: _measure_rows(before[name], after[name])
        for name in before
        if before[name].dtype.kind == "f"
    }
    ones, others = choose_answers(before), choose_answers(after)
    changed = _find_changed_answers(ones, others, rows)
    relative = np.zeros(rows)
    for name, distance in distances.items():
        relative = np.maximum(relative, distance / _scale(before[name]))
    order = np.lexsort([np.arange(rows), -relative, ~changed])
    return Comparison(
        rows=rows,
        changed=int(changed.sum()),
        outputs=tuple(
            _describe_output(name, before[name], after[name], distances.get(name))
            for name in sorted(before)
        ),
        most_changed=tuple(
            ChangedRow(
                row=int(row),
                before=_format_answer(ones, int(row)),
                after=_format_answer(others, int(row)),
                difference=float(relative[row]),
            )
            for row in order[:_SHOWN_ROWS]
            if changed[row] or relative[row] > 0
        ),
    )


def choose_answers(predictions: Mapping[str, Array]) -> dict[str, Array]:
    """Return the answers in predictions: labels, else the highest scores, else all numbers."""
    labels = {name: value for name, value in predictions.items() if value.dtype.kind != "f"}
    if labels:
        return labels
    return {
        name: np.argmax(value, axis=-1) if value.ndim == 2 and value.shape[1] > 1 else value
        for name, value in predictions.items()
    }


def measure_quality(answers: Mapping[str, Array], truth: Mapping[str, Array]) -> dict[str, float]:
    """Return the accuracy of labels, or the mean absolute error of numbers, where truth is known.

    Args:
        truth: The correct answers by the name of the output.
    """
    metrics = {}
    for name in sorted(answers.keys() & truth.keys()):
        answer, correct = answers[name], truth[name].reshape(answers[name].shape)
        if answer.dtype.kind == "f":
            metrics[f"mean absolute error of {name}"] = float(np.mean(np.abs(answer - correct)))
        else:
            metrics[f"accuracy of {name}"] = float(np.mean(_equal_labels(answer, correct)))
    return metrics


def as_json(diffs: Sequence[PredictionDiff]) -> list[dict[str, Any]]:
    """Return the comparisons as a JSON document."""
    return [{**_replace_infinity(asdict(diff)), "interval": diff.interval} for diff in diffs]


def _replace_infinity(value: Any) -> Any:
    """Return a document in which infinity and NaN, which JSON does not have, are None."""
    if isinstance(value, dict):
        return {key: _replace_infinity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_infinity(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _find_changed_answers(
    before: Mapping[str, Array], after: Mapping[str, Array], rows: int
) -> Any:
    changed = np.zeros(rows, bool)
    for name, value in before.items():
        if value.dtype.kind == "f":
            limit = _tolerance(value) * _scale(value)
            changed |= _measure_rows(value, after[name]) > limit
        else:
            differs = ~_equal_labels(value, after[name])
            changed |= differs.reshape(rows, -1).any(axis=1)
    return changed


def _describe_output(
    name: str, before: Array, after: Array, distance: Any | None
) -> OutputDifference:
    if distance is None:
        differs = ~_equal_labels(before, after)
        rows = int(differs.reshape(len(before), -1).any(axis=1).sum())
        return OutputDifference(name=name, rows=rows, largest=None, mean=None)
    limit = _tolerance(before) * _scale(before)
    return OutputDifference(
        name=name,
        rows=int((distance > limit).sum()),
        largest=float(distance.max(initial=0.0)),
        mean=float(np.mean(_measure(before, after))) if before.size else 0.0,
    )


def _equal_labels(before: Array, after: Array) -> Any:
    if "O" in (before.dtype.kind, after.dtype.kind):
        return np.equal(before.astype(str), after.astype(str))
    return np.equal(before, after)


def _measure(before: Array, after: Array) -> Any:
    one, other = before.astype(np.float64), after.astype(np.float64)
    same = np.equal(one, other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(one - other))
    return np.where(np.isnan(distance), np.inf, distance)


def _measure_rows(before: Array, after: Array) -> Any:
    """Return the largest difference of each row."""
    return _measure(before, after).reshape(len(before), -1).max(axis=1, initial=0.0)


def _scale(values: Array) -> float:
    """Return the largest finite number, but at least 1, as `berth.packaging.compare` does."""
    numbers = np.abs(values.astype(np.float64))
    return float(np.max(np.where(np.isfinite(numbers), numbers, 0.0), initial=1.0))


def _tolerance(values: Array) -> float:
    return HALF_TOLERANCE if values.dtype == np.float16 else TOLERANCE


def _format_answer(answers: Mapping[str, Array], row: int) -> str:
    parts = []
    for name in sorted(answers):
        values = np.atleast_1d(answers[name][row]).ravel()
        shown = ", ".join(
            f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
            for value in values[:3].tolist()
        )
        parts.append(shown + ("…" if values.size > 3 else ""))
    return "; ".join(parts)
