"""Metrics of the gateway, in the format that Prometheus scrapes."""

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from berth_gateway.exchange import Exchange

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All series. Labels hold only names from the table, so that callers cannot add series.

    Attributes:
        in_flight: requests being answered.
        refused: by client and `reason`: throttle or quota.
        authorized: inference requests that a controller was told to let pass, by client and
            model; what became of them is not known here.
        reloads: of the table, by `outcome`: taken or refused.
        peer_messages: to other gateways, by `outcome`: told or failed.
        peers: other gateways that answer.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "berth_gateway_requests_total",
            "Requests answered; 499 for a client that left first",
            ("client", "model", "version", "code"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "berth_gateway_request_seconds",
            "From a request's head to the end of its answer",
            ("model", "version"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "berth_gateway_in_flight", "Requests being answered", registry=self._registry
        )
        self.refused = Counter(
            "berth_gateway_refused_total",
            "Requests beyond a client's limits",
            ("client", "reason"),
            registry=self._registry,
        )
        self.authorized = Counter(
            "berth_gateway_authorized_total",
            "Inference requests that a controller was told to let pass",
            ("client", "model"),
            registry=self._registry,
        )
        self.reloads = Counter(
            "berth_gateway_reloads_total",
            "Tables read again",
            ("outcome",),
            registry=self._registry,
        )

        self.peers = Gauge(
            "berth_gateway_peers", "Other gateways that answer", registry=self._registry
        )
        self.peer_messages = Counter(
            "berth_gateway_peer_messages_total",
            "Messages to other gateways about limits used",
            ("outcome",),
            registry=self._registry,
        )

    def ended(self, exchange: Exchange) -> None:
        """Count one request that was answered or given up."""
        labels = (exchange.model, exchange.version)
        self._requests.labels(exchange.client, *labels, str(exchange.status)).inc()
        self._seconds.labels(*labels).observe(time.monotonic() - exchange.started)

    def watch(
        self,
        retries: Callable[[], int],
        copies: Callable[[], dict[tuple[str, str, str], int]],
        quota_used: Callable[[], dict[str, int]],
    ) -> None:
        """Read these where they are counted, at each scrape."""
        self._registry.register(_Watched(retries, copies, quota_used))

    def text(self) -> bytes:
        """What a scrape gets."""
        return generate_latest(self._registry)


class _Watched(Collector):
    def __init__(
        self,
        retries: Callable[[], int],
        copies: Callable[[], dict[tuple[str, str, str], int]],
        quota_used: Callable[[], dict[str, int]],
    ) -> None:
        self._retries = retries
        self._copies = copies
        self._quota_used = quota_used

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "berth_gateway_upstream_retries",
            "Requests sent once more on a new connection",
            value=self._retries(),
        )
        copies = CounterMetricFamily(
            "berth_gateway_shadow_copies",
            "Copies for shadow versions, by outcome: answered, failed or dropped",
            labels=("model", "version", "outcome"),
        )
        for labels, count in self._copies().items():
            copies.add_metric(labels, count)
        yield copies
        used = GaugeMetricFamily(
            "berth_gateway_quota_used",
            "Inference requests counted in the running period",
            labels=("client",),
        )
        for client, count in self._quota_used().items():
            used.add_metric((client,), count)
        yield used
