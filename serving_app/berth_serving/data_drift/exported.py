"""A drift monitor that reports to the metrics of the berth."""

import logging
from collections.abc import Mapping, Sequence

from berth_protocol.json_logs import log_event
from berth_protocol.training_statistics import Feature, TrainingStatistics
from berth_serving.data_drift.measures import Array
from berth_serving.data_drift.monitor import DriftMonitor, WindowResult
from berth_serving.metrics import Metrics
from berth_serving.settings import Settings

_LOG = logging.getLogger("berth")


class ExportedMonitor:
    """Counts the rows of requests as metrics. A defect in it ends the counting, not the requests.

    Args:
        labels: Model and version.
    """

    def __init__(
        self,
        statistics: TrainingStatistics,
        settings: Settings,
        metrics: Metrics,
        labels: tuple[str, str],
    ) -> None:
        self._metrics = metrics.data_drift
        self._labels = labels
        self._windows = self._metrics.windows.labels(*labels)
        self._bins = {id(feature): feature.bin_labels() for feature in statistics.features}
        self._monitor: DriftMonitor | None = DriftMonitor(
            statistics,
            window_seconds=settings.data_drift_seconds,
            min_rows=settings.data_drift_rows,
            observe_counts=self._add_counts,
            observe_window=self._set_results,
        )

    def observe(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Count the rows of one request."""
        if self._monitor is None:
            return
        try:
            self._monitor.observe(inputs, outputs)
        except Exception as error:
            # The message of an exception can contain values of a request.
            self._monitor = None
            log_event(
                _LOG,
                logging.ERROR,
                "Counting for data drift failed; no more rows are counted",
                error=type(error).__name__,
            )

    def _add_counts(self, feature: Feature, counts: Sequence[int]) -> None:
        labels = (*self._labels, *_name(feature))
        for name, count in zip(self._bins[id(feature)], counts, strict=True):
            if count:
                self._metrics.rows.labels(*labels, name).inc(count)

    def _set_results(self, results: list[WindowResult]) -> None:
        self._windows.inc()
        for result in results:
            labels = (*self._labels, *_name(result.feature))
            self._metrics.psi.labels(*labels).set(result.comparison.psi)
            self._metrics.detected.labels(*labels).set(int(result.is_drifted))
            self._metrics.alarms.labels(*labels).inc(int(result.is_drifted))


def _name(feature: Feature) -> tuple[str, str, str]:
    return str(feature.side), feature.tensor, feature.column_label
