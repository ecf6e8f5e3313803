"""What a berth measures, for Prometheus.

With several workers each counts for itself in files of one folder, and whoever is asked sums
them up: a scraper reaches one worker by chance.
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

# They would be a second series for each first one, which nothing reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

# Seconds: from a model of microseconds to the default deadline.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters of one worker. `folder` is where several workers meet; None for one alone."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "berth_requests",
            "Inference requests, by HTTP status.",
            ["model", "version", "code"],
            registry=self._registry,
        )
        self.latency = Histogram(
            "berth_request_seconds",
            "Seconds from a request's first byte read to its answer made.",
            ["model", "version"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.inference = Histogram(
            "berth_inference_seconds",
            "Seconds of one onnxruntime run.",
            ["model", "version"],
            buckets=(0.00001, 0.00005, 0.0001, *_SECONDS),
            registry=self._registry,
        )
        self.batch = Histogram(
            "berth_batch_rows",
            "Rows of one onnxruntime run.",
            ["model", "version"],
            buckets=_ROWS,
            registry=self._registry,
        )
        self.queue = Gauge(
            "berth_queue_requests",
            "Requests that wait for a thread now.",
            ["model", "version"],
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "berth_in_flight_requests",
            "Inference requests that are being answered now.",
            ["model", "version"],
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.info = Gauge(
            "berth_model_info",
            "1, with what is served and by what as labels.",
            ["model", "version", "digest", "berth", "onnxruntime", "provider"],
            multiprocess_mode="livemax",
            registry=self._registry,
        )

    def text(self) -> bytes:
        """All metrics, of all workers, in Prometheus's text format."""
        if self._folder is None:
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        multiprocess.MultiProcessCollector(everyone, self._folder)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)
