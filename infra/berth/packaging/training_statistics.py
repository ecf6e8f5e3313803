"""Counts reference data and the model's answers to it in bins: the statistics of a version."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from berth.packaging.errors import PackageError
from berth.packaging.reference_data import read_reference
from berth.packaging.rows import Array
from berth_protocol.model_card import Tensor
from berth_protocol.training_statistics import (
    MAX_FEATURES,
    MAX_FILE_BYTES,
    SCHEMA,
    Feature,
    Kind,
    Side,
    TrainingStatistics,
)
from berth_serving.data_drift.measures import (
    MAX_COLUMNS,
    TensorMeter,
    find_bins,
    shorten,
    summarize,
)

_QUANTILES = 10
_MAX_VALUES = 20
# A value that few rows have could identify a person, so it is not stored.
_MIN_VALUE_ROWS = 10
_BATCH_ROWS = 256

Run = Callable[[dict[str, Array]], dict[str, Array]]


def count_reference(
    data: object,
    run: Run,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    no_rows_reason: str,
) -> TrainingStatistics:
    """Return the statistics of reference data; see `read_reference`.

    Raises:
        PackageError: If the model has no rows, or the data does not fit.
    """
    if no_rows_reason:
        raise PackageError(
            f"The model has no independent rows ({no_rows_reason}), so its requests cannot be "
            "compared with training data row by row. Package it without --reference-data."
        )
    return build_statistics(run, read_reference(data, inputs), inputs, outputs)


def describe_statistics(statistics: TrainingStatistics | None) -> Iterator[str]:
    """Yield messages about what was recorded and what was not."""
    if statistics is None:
        return
    features = len(statistics.features)
    yield f"Recorded statistics of {statistics.rows} reference rows in {features} columns."
    summarized = {f.tensor for f in statistics.features if f.kind is Kind.MEAN}
    if summarized:
        yield (
            "Wide tensors are summarized by the mean and deviation of each row: "
            f"{', '.join(sorted(summarized))}."
        )
    if statistics.omitted:
        yield (
            f"Data drift is not detected in {', '.join(statistics.omitted)}: optional inputs, "
            f"outputs of varying size, and what exceeds {MAX_FEATURES} columns have no statistics."
        )


def build_statistics(
    run: Run, feeds: Mapping[str, Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> TrainingStatistics:
    """Return the statistics of reference data and of the model's outputs for it.

    Args:
        run: Runs the model.
        feeds: Rows by the name of the input.
    """
    rows = len(next(iter(feeds.values())))
    parts: dict[str, list[Array]] = {}
    for start in range(0, rows, _BATCH_ROWS):
        part = run({name: array[start : start + _BATCH_ROWS] for name, array in feeds.items()})
        for name, array in part.items():
            parts.setdefault(name, []).append(array)
    features: list[Feature] = []
    omitted: list[str] = []
    for side, tensors in ((Side.INPUT, inputs), (Side.OUTPUT, outputs)):
        for tensor in tensors:
            values = feeds.get(tensor.name) if side is Side.INPUT else _join(parts[tensor.name])
            found = [] if values is None else list(_describe(side, tensor, values))
            if not found or len(features) + len(found) > MAX_FEATURES:
                omitted.append(tensor.name)
            else:
                features += found
    return TrainingStatistics(SCHEMA, rows, features, omitted)


def write_statistics(statistics: TrainingStatistics, path: Path) -> None:
    """Write the statistics, with one feature on each line for readers."""
    content = msgspec.json.format(msgspec.json.encode(statistics), indent=1)
    assert len(content) <= MAX_FILE_BYTES, "64 features of 24 bins are shorter"
    path.write_bytes(content + b"\n")


def _join(parts: Sequence[Array]) -> Array | None:
    """Return the outputs of all runs, or None if their rows differ in size."""
    if len({part.shape[1:] for part in parts}) > 1:
        return None
    return np.concatenate(parts)


def _describe(side: Side, tensor: Tensor, values: Array) -> Iterator[Feature]:
    """Yield the features of a tensor, or nothing if it cannot be described."""
    rows = values.reshape(len(values), -1)
    is_text = tensor.datatype == "BYTES"
    is_wide = rows.shape[1] > MAX_COLUMNS or any(dim < 0 for dim in tensor.shape[1:])
    if not rows.shape[1] or (is_text and is_wide):
        return
    if is_wide:
        measured = summarize(rows)
        for kind, column in zip((Kind.MEAN, Kind.DEVIATION), measured.T, strict=True):
            yield _count_numbers(side, tensor.name, kind, 0, column)
    elif is_text:
        features = [
            _choose_texts(side, tensor.name, at, rows[:, at]) for at in range(rows.shape[1])
        ]
        measured_texts = TensorMeter(features).measure(rows)
        assert measured_texts is not None, "the features are those of the columns"
        for feature, column in zip(features, measured_texts.T, strict=True):
            yield (
                _count_numbers(side, tensor.name, Kind.LENGTH, feature.column, column)
                if feature.kind is Kind.LENGTH
                else _count(feature, column)
            )
    else:
        for at, column in enumerate(rows.astype(np.float64).T):
            yield _count_numbers(side, tensor.name, Kind.NUMBER, at, column)


def _choose_texts(side: Side, name: str, column: int, texts: Array) -> Feature:
    """Return a feature of a column of text: its frequent values if there are few, or its length."""
    counts = Counter(shorten(text) for text in texts)
    if len(counts) > _MAX_VALUES:
        return Feature(side=side, tensor=name, kind=Kind.LENGTH, column=column, counts=[])
    values: list[str | float] = sorted(t for t, n in counts.items() if n >= _MIN_VALUE_ROWS)
    feature = Feature(
        side=side, tensor=name, kind=Kind.TEXT, column=column, values=values, counts=[]
    )
    return _with_bins(feature)


def _count_numbers(side: Side, name: str, kind: Kind, column: int, numbers: Array) -> Feature:
    known = numbers[np.isfinite(numbers)]
    values, counts = np.unique(known, return_counts=True)
    feature = Feature(side=side, tensor=name, kind=kind, column=column, counts=[])
    if kind is Kind.NUMBER and 0 < len(values) <= _MAX_VALUES:
        feature.kind = Kind.VALUE
        frequent = values[counts >= _MIN_VALUE_ROWS]
        # Without a frequent value there is one bin for all.
        feature.values = [float(value) for value in (frequent if len(frequent) else values[:1])]
    elif len(known):
        shares = np.arange(1, _QUANTILES) / _QUANTILES
        feature.edges = [float(edge) for edge in np.unique(np.quantile(known, shares))]
    return _count(_with_bins(feature), numbers)


def _with_bins(feature: Feature) -> Feature:
    feature.counts = [0] * len(feature.bin_labels())
    return feature


def _count(feature: Feature, measured: Array) -> Feature:
    counts = np.bincount(find_bins(feature, measured), minlength=len(feature.counts))
    feature.counts = [int(count) for count in counts]
    return feature
