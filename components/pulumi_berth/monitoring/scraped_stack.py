"""A stack as Prometheus sees it, and the PromQL for its requests, errors and latencies.

Each query selects only the series of its stack, by the labels that the scrape configuration adds.
Requests are counted where all of them pass: in the gateway, or, behind an ingress controller that
forwards requests to the berths, in the berths. The gateway then counts only what it forwards
itself: the requests to containers of the user's own, which export no metrics of Berth.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pulumi_berth.hosted_models import ClientArgs

ERRORS = 'code=~"5.."'
"""Matcher of responses that count as errors, as in the CloudWatch alarms."""


@dataclass(frozen=True, kw_only=True)
class ScrapedStack:
    """A stack whose metrics a Prometheus server reads.

    Attributes:
        project: Pulumi project of the stack.
        stack: Name of the stack.
        labels: Labels that the scrape configuration adds to all series of the stack, and to no
            others. Empty if the server reads no other stack.
        berths: Model and version of each berth whose series must exist. Empty if the server may
            read only the gateway.
        shadows: Model and version of each berth of Berth that receives shadow traffic.
        quotas: Requests per period of each client that has a quota.
        is_forwarding: Whether the gateway forwards all inference requests.
        has_shared_limits: Whether the gateways share limits in Valkey.
    """

    project: str
    stack: str
    labels: Mapping[str, str] = field(default_factory=dict)
    berths: Sequence[tuple[str, str]] = ()
    shadows: Sequence[tuple[str, str]] = ()
    quotas: Mapping[str, int] = field(default_factory=dict)
    is_forwarding: bool
    has_shared_limits: bool

    @property
    def name(self) -> str:
        """The label `stack` of recorded series and alerts."""
        return f"{self.project}/{self.stack}"

    @property
    def uid(self) -> str:
        """ID of the dashboard: the same after each update, at most 40 characters of [a-z0-9-].

        Grafana allows 40 characters:
        https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/
        """
        identity = json.dumps([self.project, self.stack, sorted(self.labels.items())])
        return f"berth-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Limits at which alerts fire. The defaults are those of the CloudWatch alarms.

    Attributes:
        error_percent: Maximum percentage of a model's responses that are 5xx.
        latency_p99_ms: Maximum p99 latency of a version, in milliseconds.
        minutes: Minutes that a breach lasts before an alert fires.
        quota_percent: Percentage of a client's quota above which an alert fires.
    """

    error_percent: float = 1.0
    latency_p99_ms: float = 1000.0
    minutes: int = 5
    quota_percent: float = 90.0


def find_quotas(clients: Mapping[str, ClientArgs]) -> dict[str, int]:
    """Return the requests per period of each client that has a quota, by name.

    The order is that of the names: the engine sorts the clients of a program, and a file does not.
    """
    return {
        name: client.quota.requests
        for name, client in sorted(clients.items())
        if client.quota is not None
    }


def quote(value: str) -> str:
    """Return a PromQL string. Its escapes are those of Go, of which JSON's are a subset."""
    return json.dumps(value, ensure_ascii=False)


def select(stack: ScrapedStack, metric: str, *matchers: str) -> str:
    """Return a selector of the stack's series of a metric.

    Args:
        matchers: Additional matchers, such as `model="digits"`.
    """
    own = [f"{name}={quote(value)}" for name, value in stack.labels.items()]
    inner = ",".join([*own, *matchers])
    return f"{metric}{{{inner}}}" if inner else metric


def rate_sum(
    stack: ScrapedStack, metric: str, by: Sequence[str], window: str, *matchers: str
) -> str:
    """Return the increase of a counter per second, summed by labels."""
    return f"sum by ({', '.join(by)}) (rate({select(stack, metric, *matchers)}[{window}]))"


def request_rate(
    stack: ScrapedStack,
    by: Sequence[str],
    window: str,
    *matchers: str,
    with_shadows: bool = False,
) -> str:
    """Return the requests per second by some of the labels `model`, `version` and `code`.

    Args:
        with_shadows: Whether to include versions with shadow traffic. A berth does not know which
            requests are duplicates; the gateway does not count them.
    """
    if stack.is_forwarding:
        known = 'model!=""'  # Other requests, such as health checks, have no model.
        return rate_sum(stack, "berth_gateway_requests_total", by, window, known, *matchers)
    inner = [*dict.fromkeys(["model", "version", *by])]
    served = rate_sum(stack, "berth_requests_total", inner, window, *matchers)
    forwarded = rate_sum(
        stack, "berth_gateway_requests_total", inner, window, 'version!=""', *matchers
    )
    requests = f"({served} or on (model, version) {forwarded})"
    for model, version in () if with_shadows else stack.shadows:
        own = (f"model={quote(model)}", f"version={quote(version)}")
        shadow = select(stack, "berth_model_info", *own)
        requests = f"({requests} unless on (model, version) {shadow})"
    return requests if len(by) == len(inner) else f"sum by ({', '.join(by)}) {requests}"


def error_ratio(
    stack: ScrapedStack,
    by: Sequence[str],
    window: str,
    *matchers: str,
    with_shadows: bool = False,
) -> str:
    """Return the share of the responses that are 5xx, 0 to 1. Without requests, it has no value."""
    requests = request_rate(stack, by, window, *matchers, with_shadows=with_shadows)
    errors = request_rate(stack, by, window, *matchers, ERRORS, with_shadows=with_shadows)
    # A counter of a status has no series before its first response.
    return f"({errors} or 0 * {requests}) / ({requests} > 0)"


def latency(stack: ScrapedStack, quantile: float, window: str, *matchers: str) -> str:
    """Return a quantile of the latency of each model and version, in seconds."""

    def of(metric: str, *more: str) -> str:
        by = ("model", "version", "le")
        buckets = rate_sum(stack, f"{metric}_bucket", by, window, *more, *matchers)
        return f"histogram_quantile({quantile:g}, {buckets})"

    forwarded = of("berth_gateway_request_seconds", 'version!=""')
    if stack.is_forwarding:
        return forwarded
    return f"{of('berth_request_seconds')} or {forwarded}"
