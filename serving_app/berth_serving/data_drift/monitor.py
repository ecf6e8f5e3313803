"""Counts the rows of requests in the bins of the training statistics, and compares windows of them.

A worker compares fixed windows that do not overlap, so the number of comparisons is known and with
it the rate of false alarms. Each worker compares its own windows; the counters of all workers and
replicas can be added.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from berth_protocol.training_statistics import Feature, Side, TrainingStatistics
from berth_serving.data_drift.homogeneity import Comparison, Counts, compare_counts
from berth_serving.data_drift.measures import Array, TensorMeter, sample_rows

FALSE_ALARMS_PER_DAY = 0.01
"""Expected false alarms of one worker in a day, over all of its inputs and outputs."""
MIN_PSI = 0.1
"""Smallest difference that is reported. With many rows, the test finds differences that do not
matter; by convention, a population stability index below 0.1 is no change."""

_DAY_SECONDS = 86_400
_PENDING_ROWS = 256
_FLUSH_SECONDS = 1.0
# Share of the time that counting may take.
_BUDGET_SECONDS = 0.02


@dataclass(frozen=True)
class WindowResult:
    """The comparison of one feature in one complete window.

    Attributes:
        is_drifted: Whether the difference is larger than chance explains, and matters.
    """

    feature: Feature
    comparison: Comparison
    is_drifted: bool


@dataclass
class _Tensor:
    side: Side
    name: str
    meter: TensorMeter
    references: list[Counts]
    pending: list[Array] = field(default_factory=list)
    window: list[Counts] = field(default_factory=list)
    total: list[Counts] = field(default_factory=list)


def choose_alpha(window_seconds: float, features: int) -> float:
    """Return the p-value below which one feature of a window has drifted.

    The false alarms of a day are divided among the windows of a day and, after Bonferroni, among
    the features of a window.
    """
    per_window = FALSE_ALARMS_PER_DAY * min(1.0, window_seconds / _DAY_SECONDS)
    return per_window / max(1, features)


class DriftMonitor:
    """Compares the rows of requests with training statistics. Belongs to one event loop.

    Counting takes at most 2 % of the time: requests beyond it are not counted. Of a request, at
    most 256 rows count.

    Args:
        window_seconds: Shortest duration of a window.
        min_rows: Smallest number of rows of a window.
        observe_counts: Called with each feature and its new rows by bin, about once a second.
        observe_window: Called with the results of a complete window.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        statistics: TrainingStatistics,
        *,
        window_seconds: float,
        min_rows: int,
        observe_counts: Callable[[Feature, Sequence[int]], None],
        observe_window: Callable[[list[WindowResult]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._alpha = choose_alpha(window_seconds, len(statistics.features))
        self._window_seconds = window_seconds
        self._min_rows = min_rows
        self._observe_counts = observe_counts
        self._observe_window = observe_window
        self._clock = clock
        self._tensors = [
            _Tensor(
                side, name, TensorMeter(features), [np.array(f.counts, np.int64) for f in features]
            )
            for (side, name), features in _group_features(statistics.features)
        ]
        for tensor in self._tensors:
            tensor.window, tensor.total = _zeros(tensor), _zeros(tensor)
        self._pending_rows = 0
        self._window_rows = 0
        now = clock()
        self._flush_at = now + _FLUSH_SECONDS
        self._window_end = now + window_seconds
        self._second = now
        self._spent = 0.0

    def observe(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Count the rows of one request, unless counting has taken enough time already."""
        now = self._clock()
        if now - self._second >= 1.0:
            self._second, self._spent = now, 0.0
        if self._spent > _BUDGET_SECONDS:
            return
        started = time.perf_counter()
        rows = 0
        for tensor in self._tensors:
            array = (inputs if tensor.side is Side.INPUT else outputs).get(tensor.name)
            if array is None or not array.ndim or not len(array):
                continue
            measured = tensor.meter.measure(sample_rows(array))
            if measured is not None:
                tensor.pending.append(measured)
                rows = max(rows, len(measured))
        self._pending_rows += rows
        if self._pending_rows >= _PENDING_ROWS or now >= self._flush_at:
            self._flush(now)
        self._spent += time.perf_counter() - started

    def _flush(self, now: float) -> None:
        for tensor in self._tensors:
            if tensor.pending:
                rows = np.concatenate(tensor.pending)
                tensor.pending.clear()
                for at, counts in enumerate(tensor.meter.count(rows)):
                    tensor.window[at] += counts
                    tensor.total[at] += counts
        self._window_rows += self._pending_rows
        self._pending_rows = 0
        is_complete = now >= self._window_end and self._window_rows >= self._min_rows
        if now >= self._flush_at or is_complete:
            self._flush_at = now + _FLUSH_SECONDS
            self._report_counts()
        if is_complete:
            self._observe_window(list(self._compare()))
            for tensor in self._tensors:
                tensor.window = _zeros(tensor)
            self._window_rows = 0
            self._window_end = now + self._window_seconds

    def _report_counts(self) -> None:
        for tensor in self._tensors:
            for feature, counts in zip(tensor.meter.features, tensor.total, strict=True):
                if counts.any():
                    self._observe_counts(feature, counts.tolist())
            tensor.total = _zeros(tensor)

    def _compare(self) -> list[WindowResult]:
        results = []
        for tensor in self._tensors:
            for feature, reference, window in zip(
                tensor.meter.features, tensor.references, tensor.window, strict=True
            ):
                comparison = compare_counts(reference, window)
                is_drifted = comparison.p_value < self._alpha and comparison.psi >= MIN_PSI
                results.append(WindowResult(feature, comparison, is_drifted))
        return results


def _zeros(tensor: _Tensor) -> list[Counts]:
    return [np.zeros_like(reference) for reference in tensor.references]


def _group_features(
    features: Sequence[Feature],
) -> list[tuple[tuple[Side, str], list[Feature]]]:
    def key(feature: Feature) -> tuple[Side, str]:
        return feature.side, feature.tensor

    return [(name, list(group)) for name, group in groupby(sorted(features, key=key), key)]
