"""Training statistics: how often the values of a model's inputs and outputs fall into fixed bins.

`berth package` counts the rows of reference data and writes them to `statistics.json`, next to the
model card. A berth counts the rows of requests in the same bins, and compares both. The file
contains counts, bounds of bins, and values that are frequent; it contains no rows.
"""

from enum import StrEnum
from pathlib import Path

import msgspec

STATISTICS_FILE = "statistics.json"
SCHEMA = "berth/statistics/v1"
MAX_FEATURES = 64
MAX_BINS = 24
MAX_FILE_BYTES = 256 << 10
MAX_VALUE_CHARACTERS = 64


class StatisticsError(ValueError):
    """A file of statistics that cannot be used. The message names the file and the fix."""


class Side(StrEnum):
    """Whether a tensor is an input or an output of the model."""

    INPUT = "input"
    OUTPUT = "output"


class Kind(StrEnum):
    """What is measured in each row of a tensor."""

    NUMBER = "number"
    """A column of numbers, in bins between quantiles."""
    VALUE = "value"
    """A column of numbers with few different values, one bin for each."""
    TEXT = "text"
    """A column of text with few different values, one bin for each."""
    LENGTH = "length"
    """A column of other text: its length in characters, in bins between quantiles."""
    MEAN = "mean"
    """The mean of all numbers of the row, for a tensor with many columns."""
    DEVIATION = "deviation"
    """The standard deviation of all numbers of the row, for a tensor with many columns."""


class Feature(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The distribution of one column, or of one summary, of a tensor.

    Attributes:
        side: Side of the model that the tensor is on.
        tensor: Name of the tensor.
        kind: What is measured in each row.
        column: Position of the column in a row.
        edges: Upper bounds, inclusive, of all bins but the last, in ascending order.
        values: Values that have a bin of their own, instead of `edges`. All others share one.
        counts: Number of rows of each bin. The last bin counts rows without a number (NaN).
    """

    side: Side
    tensor: str
    kind: Kind
    column: int = 0
    edges: list[float] = []
    values: list[str | float] = []
    counts: list[int]

    @property
    def column_label(self) -> str:
        """The column's position, or the name of the summary."""
        if self.kind in (Kind.MEAN, Kind.DEVIATION):
            return str(self.kind)
        return str(self.column)

    def bin_labels(self) -> list[str]:
        """Return a description of each bin, in the order of the counts."""
        if self.kind in (Kind.VALUE, Kind.TEXT):
            texts = [v for v in self.values if isinstance(v, str)]
            shown = texts or _shorten([v for v in self.values if isinstance(v, float)])
            return [*(f"={text}" for text in shown), "other", "missing"]
        bounds = _shorten(self.edges)
        last = f">{bounds[-1]}" if bounds else "all"
        return [*(f"<={bound}" for bound in bounds), last, "missing"]


def _shorten(numbers: list[float]) -> list[str]:
    """Return numbers with six digits if these tell them apart, or else with all."""
    short = [f"{number:g}" for number in numbers]
    return short if len(set(short)) == len(short) else [repr(number) for number in numbers]


class TrainingStatistics(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The content of `statistics.json`.

    Attributes:
        schema: Always `berth/statistics/v1`.
        rows: Number of rows that were counted.
        features: Distributions, at most 64.
        omitted: Names of tensors without a distribution.
    """

    schema: str
    rows: int
    features: list[Feature]
    omitted: list[str] = []


def read_statistics(path: Path) -> TrainingStatistics:
    """Read a file of statistics.

    Raises:
        StatisticsError: If the file cannot be read, is too long, or its content is invalid.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise StatisticsError(
            f"{path}: cannot read the training statistics ({error.strerror}). Restore the packaged"
            " files."
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise StatisticsError(f"{path}: is longer than {MAX_FILE_BYTES} bytes. {_FIX}")
    try:
        statistics = msgspec.json.decode(content, type=TrainingStatistics)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise StatisticsError(f"{path}: {error}. {_FIX}") from error
    if problem := _find_problem(statistics):
        raise StatisticsError(f"{path}: {problem}. {_FIX}")
    return statistics


_FIX = "Package the version again."


def _find_problem(statistics: TrainingStatistics) -> str | None:
    if statistics.schema != SCHEMA:
        return f"schema {statistics.schema!r} is not supported; this version reads {SCHEMA!r}"
    if len(statistics.features) > MAX_FEATURES:
        return f"has {len(statistics.features)} features; at most {MAX_FEATURES} are supported"
    for feature in statistics.features:
        name = f"feature {feature.tensor}[{feature.column_label}]"
        bins = len(feature.bin_labels())
        if bins > MAX_BINS or len(feature.counts) != bins:
            return f"{name}: has {len(feature.counts)} counts for {bins} bins"
        if sum(feature.counts) != statistics.rows or min(feature.counts) < 0:
            return f"{name}: the counts do not add up to {statistics.rows} rows"
        if any(a >= b for a, b in zip(feature.edges, feature.edges[1:], strict=False)):
            return f"{name}: the edges are not in ascending order"
        expected = str if feature.kind is Kind.TEXT else float
        if feature.column < 0 or any(type(value) is not expected for value in feature.values):
            return f"{name}: a value or the column does not fit the kind {feature.kind}"
        if feature.kind is Kind.VALUE and feature.values != sorted(set(feature.values)):
            return f"{name}: the values are not in ascending order"
    return None
