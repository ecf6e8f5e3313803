"""Metrics of the gateway, in the Prometheus text format."""

import time
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from berth_gateway.berth_health import BerthHealth
from berth_gateway.limits.blocks import BlockList
from berth_gateway.limits.limiter import Limiter
from berth_gateway.request_context import RequestContext
from berth_gateway.traffic import ShadowTraffic
from berth_gateway.upstream import UpstreamPool

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All metrics. Labels contain only names from the configuration: callers cannot add series.

    Attributes:
        in_flight: Requests without a complete response.
        rejected: Rejected requests, by client and reason: `rate_limit`, `quota`, `blocked` or,
            without a client, `address_blocked`.
        client_blocks: Blocks of clients that kept exceeding their limits, by client.
        address_blocks: Blocks of addresses that kept sending invalid keys.
        authorized: Inference requests that the ingress controller forwards, by client and model.
            Their outcome is not known to the gateway.
        dropped_trailers: Headers after a chunked body, which the gateway drops.
        dropped_responses: Responses whose connection was closed because the client took them too
            slowly.
        failovers: Requests that another version answered, by model, the version of the traffic
            split, and the version that answered.
        reloads: Configuration reloads, by outcome: `applied` or `rejected`.
        limits_shared: 1 while Valkey decides about limits, otherwise 0.
        own_decisions: Decisions that this gateway made by itself, because Valkey was unreachable.
        blocks_shared: 1 while the gateways share blocks in Valkey, otherwise 0.
        block_exchange_failures: Exchanges of blocks with Valkey that failed.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "berth_gateway_requests_total",
            "Completed requests; code 499 if the client disconnected first",
            ("client", "model", "version", "code"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "berth_gateway_request_seconds",
            "Time from the request head to the end of the response",
            ("model", "version"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "berth_gateway_in_flight", "Requests in flight", registry=self._registry
        )
        self.rejected = Counter(
            "berth_gateway_rejected_total",
            "Requests rejected by a rate limit, a quota or a block",
            ("client", "reason"),
            registry=self._registry,
        )
        self.client_blocks = Counter(
            "berth_gateway_client_blocks_total",
            "Blocks of clients that kept exceeding their limits",
            ("client",),
            registry=self._registry,
        )
        self.address_blocks = Counter(
            "berth_gateway_address_blocks_total",
            "Blocks of addresses that kept sending invalid keys",
            registry=self._registry,
        )
        self.authorized = Counter(
            "berth_gateway_authorized_total",
            "Inference requests authorized for the ingress controller",
            ("client", "model"),
            registry=self._registry,
        )
        self.dropped_trailers = Counter(
            "berth_gateway_dropped_trailers_total",
            "Headers after a chunked body, which the gateway drops",
            registry=self._registry,
        )
        self.dropped_responses = Counter(
            "berth_gateway_dropped_responses_total",
            "Responses whose connection was closed because the client took them too slowly",
            registry=self._registry,
        )
        self.failovers = Counter(
            "berth_gateway_failovers_total",
            "Requests that another version answered, because their own was unhealthy",
            ("model", "version", "answered_by"),
            registry=self._registry,
        )
        self.reloads = Counter(
            "berth_gateway_reloads_total",
            "Configuration reloads",
            ("outcome",),
            registry=self._registry,
        )
        # From the start, so that an increase from 0 to 1 is one: Prometheus does not count the
        # first value of a series.
        for outcome in ("applied", "rejected"):
            self.reloads.labels(outcome)
        self.limits_shared = Gauge(
            "berth_gateway_limits_shared",
            "1 while Valkey decides about limits",
            registry=self._registry,
        )
        self.own_decisions = Counter(
            "berth_gateway_own_limit_decisions_total",
            "Decisions about limits without Valkey, because it was unreachable",
            registry=self._registry,
        )
        self.blocks_shared = Gauge(
            "berth_gateway_blocks_shared",
            "1 while the gateways share blocks in Valkey",
            registry=self._registry,
        )
        self.block_exchange_failures = Counter(
            "berth_gateway_block_exchange_failures_total",
            "Exchanges of blocks with Valkey that failed",
            registry=self._registry,
        )

    def observe_request(self, context: RequestContext) -> None:
        """Count a request that has ended."""
        labels = (context.model, context.version)
        self._requests.labels(context.client, *labels, str(context.status)).inc()
        self._seconds.labels(*labels).observe(time.monotonic() - context.started_at)

    def observe_at_scrape(
        self,
        pool: UpstreamPool,
        shadow_traffic: ShadowTraffic,
        limiter: Limiter,
        block_lists: Mapping[str, BlockList],
        health: BerthHealth,
    ) -> None:
        """Read the numbers that these objects count themselves, at each scrape.

        Args:
            block_lists: Block list of each kind of subject.
        """
        self._registry.register(_ScrapedMetrics(pool, shadow_traffic, limiter, block_lists, health))

    def render(self) -> bytes:
        """Return all metrics as text."""
        return generate_latest(self._registry)


class _ScrapedMetrics(Collector):
    def __init__(
        self,
        pool: UpstreamPool,
        shadow_traffic: ShadowTraffic,
        limiter: Limiter,
        block_lists: Mapping[str, BlockList],
        health: BerthHealth,
    ) -> None:
        self._health = health
        self._pool = pool
        self._shadow_traffic = shadow_traffic
        self._limiter = limiter
        self._block_lists = block_lists

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "berth_gateway_upstream_retries",
            "Requests sent again on a new connection",
            value=self._pool.retries,
        )
        shadow_requests = CounterMetricFamily(
            "berth_gateway_shadow_requests",
            "Requests sent to shadow versions, by outcome: succeeded, failed or dropped",
            labels=("model", "version", "outcome"),
        )
        for labels, count in self._shadow_traffic.counts.items():
            shadow_requests.add_metric(labels, count)
        yield shadow_requests
        compared = CounterMetricFamily(
            "berth_gateway_shadow_compared",
            "Answers of shadow versions compared with the client's: equal, different or skipped",
            labels=("model", "version", "outcome"),
        )
        for labels, count in self._shadow_traffic.compared.items():
            compared.add_metric(labels, count)
        yield compared
        quota_used = GaugeMetricFamily(
            "berth_gateway_quota_used",
            "Inference requests counted in the current quota period",
            labels=("client",),
        )
        for client, count in self._limiter.get_quota_used().items():
            quota_used.add_metric((client,), count)
        yield quota_used
        blocked = GaugeMetricFamily(
            "berth_gateway_blocked", "Clients and addresses that are blocked now", labels=("kind",)
        )
        for kind, block_list in self._block_lists.items():
            blocked.add_metric((kind,), block_list.count_blocked())
        yield blocked
        unhealthy = GaugeMetricFamily(
            "berth_gateway_unhealthy_berths",
            "1 for a version whose berth is unhealthy",
            labels=("model", "version"),
        )
        for berth in self._health.unhealthy:
            unhealthy.add_metric((berth.model, berth.version), 1)
        yield unhealthy
