"""Metrics of a berth, for Prometheus.

A scrape reaches one worker, which merges the metrics of all workers from files in one directory.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)

# Creation times would double the number of series, and nothing reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

# Seconds: from a model that takes microseconds to the default deadline.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_LABELS = ("model", "version")


class DataDriftMetrics:
    """Metrics of a version with training statistics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        feature = [*_LABELS, "side", "tensor", "column"]
        self.rows = Counter(
            "berth_data_drift_rows",
            "Counted rows by bin of the training statistics",
            [*feature, "bin"],
            registry=registry,
        )
        self.windows = Counter(
            "berth_data_drift_windows",
            "Windows of rows that were compared with the training statistics",
            _LABELS,
            registry=registry,
        )
        self.alarms = Counter(
            "berth_data_drift_alarms",
            "Windows in which an input or output has drifted",
            feature,
            registry=registry,
        )
        self.psi = Gauge(
            "berth_data_drift_psi",
            "Population stability index of the last window",
            feature,
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.detected = Gauge(
            "berth_data_drift_detected",
            "1 if an input or output has drifted in the last window",
            feature,
            multiprocess_mode="livemax",
            registry=registry,
        )


class Metrics:
    """Metrics of one worker.

    Args:
        directory: Directory that all workers share. None if there is only one worker.
    """

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "berth_requests",
            "Inference requests by HTTP status",
            [*_LABELS, "code"],
            registry=self._registry,
        )
        self.latency = Histogram(
            "berth_request_seconds",
            "Time from the head of a request to its response, in seconds",
            _LABELS,
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.inference = Histogram(
            "berth_inference_seconds",
            "Duration of one run of the model and its processing, in seconds",
            _LABELS,
            buckets=(0.00001, 0.00005, 0.0001, *_SECONDS),
            registry=self._registry,
        )
        self.batch = Histogram(
            "berth_batch_rows",
            "Rows of one ONNX Runtime run",
            _LABELS,
            buckets=_ROWS,
            registry=self._registry,
        )
        self.queue = Gauge(
            "berth_queue_requests",
            "Requests in the queue",
            _LABELS,
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "berth_in_flight_requests",
            "Inference requests in flight",
            _LABELS,
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.dropped_trailers = Counter(
            "berth_dropped_trailers",
            "Headers after a chunked body, which the berth drops",
            _LABELS,
            registry=self._registry,
        )
        self.data_drift = DataDriftMetrics(self._registry)
        self.info = Gauge(
            "berth_model_info",
            "Always 1; the labels identify the model version and the software that serves it",
            [*_LABELS, "digest", "berth", "onnxruntime", "provider"],
            multiprocess_mode="livemax",
            registry=self._registry,
        )

    def render(self) -> bytes:
        """Return the metrics of all workers in Prometheus's text format."""
        if self._directory is None:
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        multiprocess.MultiProcessCollector(merged, self._directory)  # type: ignore[no-untyped-call]
        return generate_latest(merged)
