"""Prometheus recording and alerting rules of a stack, as plain data.

The structure is that of a rule file, and of `spec` in a PrometheusRule:
https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pulumi_berth.monitoring.scraped_stack import (
    ScrapedStack,
    Thresholds,
    error_ratio,
    latency,
    quote,
    rate_sum,
    select,
)

_WINDOW = "5m"
_MODEL = "{{ $labels.model }}"
_VERSION = "{{ $labels.model }} version {{ $labels.version }}"
_SHARE = "{{ $value | humanizePercentage }}"


@dataclass(frozen=True)
class _BurnRate:
    """An alert about an error budget that is used up too fast.

    Attributes:
        long: Window in which the budget is used up.
        short: Window that ends the alert soon after the errors end.
        factor: How many times faster than allowed.
        severity: `critical` to call somebody, `warning` for a ticket.
    """

    long: str
    short: str
    factor: float
    severity: str


# Google, The Site Reliability Workbook, chapter "Alerting on SLOs", section "Multiwindow,
# Multi-Burn-Rate Alerts" (https://sre.google/workbook/alerting-on-slos/).
_BUDGET_DAYS = 30
_BURN_RATES = (
    _BurnRate("1h", "5m", 14.4, "critical"),
    _BurnRate("6h", "30m", 6, "critical"),
    _BurnRate("1d", "2h", 3, "warning"),
    _BurnRate("3d", "6h", 1, "warning"),
)


def build_rules(stack: ScrapedStack, thresholds: Thresholds | None = None) -> dict[str, Any]:
    """Return the rules of a stack.

    Args:
        thresholds: Limits at which alerts fire. Defaults to those of `Thresholds`.
    """
    limits = thresholds or Thresholds()
    # A share of errors cannot exceed 1, so with a large budget the fast alerts could never fire.
    burn_rates = [entry for entry in _BURN_RATES if entry.factor * limits.error_percent / 100 < 1]
    return {
        "groups": [
            {"name": "berth-error-ratios", "rules": list(_record_ratios(stack, burn_rates))},
            {
                "name": "berth-alerts",
                "rules": [
                    *_burn_alerts(stack, limits, burn_rates),
                    *_version_alerts(stack, limits),
                    *_drift_alerts(stack),
                    *_gateway_alerts(stack),
                    *_quota_alerts(stack, limits),
                    *_absence_alerts(stack),
                ],
            },
        ]
    }  # fmt: skip


def list_alerts(rules: Mapping[str, Any]) -> list[str]:
    """Return the names of the alerts, without duplicates."""
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]
              if "alert" in rule]  # fmt: skip
    return list(dict.fromkeys(alerts))


def _name_ratio(window: str) -> str:
    return f"model:berth_errors:ratio_rate{window}"


def _record_ratios(stack: ScrapedStack, burn_rates: list[_BurnRate]) -> Iterator[dict[str, Any]]:
    windows = dict.fromkeys(
        [entry.short for entry in burn_rates] + [entry.long for entry in burn_rates]
    )
    for window in windows:
        yield {
            "record": _name_ratio(window),
            "expr": error_ratio(stack, ["model"], window),
            # Without it, the series of two stacks in one Prometheus would be the same.
            "labels": {"stack": stack.name},
        }


def _alert(
    stack: ScrapedStack,
    name: str,
    expression: str,
    *,
    severity: str,
    summary: str,
    description: str,
    lasts: str | None = None,
    **labels: str,
) -> dict[str, Any]:
    """Return an alert.

    Args:
        lasts: How long the expression has a value before the alert fires. Defaults to no time.
        labels: Additional labels. Two alerts of one name have different labels: Prometheus would
            mix them up.
    """
    return {
        "alert": name,
        "expr": expression,
        **({} if lasts is None else {"for": lasts}),
        "labels": {"severity": severity, "stack": stack.name, **labels},
        "annotations": {"summary": f"{stack.name}: {summary}", "description": description},
    }


def _burn_alerts(
    stack: ScrapedStack, limits: Thresholds, burn_rates: list[_BurnRate]
) -> Iterator[dict[str, Any]]:
    own = f"{{stack={quote(stack.name)}}}"
    for entry in burn_rates:
        days = f"{_BUDGET_DAYS / entry.factor:.2g}"
        highest = f"{entry.factor * limits.error_percent / 100:.6g}"
        yield _alert(
            stack,
            "BerthErrorBudgetBurn",
            f"{_name_ratio(entry.long)}{own} > {highest} "
            f"and {_name_ratio(entry.short)}{own} > {highest}",
            severity=entry.severity,
            summary=f"{_SHARE} of the responses of {_MODEL} in the last {entry.long} are 5xx",
            description=f"{limits.error_percent:g} % may fail. At this rate, the errors that are "
            f"allowed in {_BUDGET_DAYS} days are used up in {days} days. "
            f"Run 'berth status', then look for the errors with 'berth logs {_MODEL}'.",
            window=entry.long,
        )


def _version_alerts(stack: ScrapedStack, limits: Thresholds) -> Iterator[dict[str, Any]]:
    by, lasts = ["model", "version"], f"{limits.minutes}m"
    errors = error_ratio(stack, by, _WINDOW, with_shadows=True)
    yield _alert(
        stack,
        "BerthVersionErrors",
        f"({errors}) > {limits.error_percent / 100:.6g}",
        lasts=lasts,
        severity="warning",
        summary=f"{_SHARE} of the responses of {_VERSION} are 5xx",
        description="A version with little traffic can fail without much effect on its model. Look "
        f"for the errors with 'berth logs {_MODEL}', or move its traffic to another version.",
    )
    yield _alert(
        stack,
        "BerthLatencyHigh",
        f"({latency(stack, 0.99, _WINDOW)}) > {limits.latency_p99_ms / 1000:.6g}",
        lasts=lasts,
        severity="warning",
        summary=f"The p99 latency of {_VERSION} is {{{{ $value | humanizeDuration }}}}",
        description=f"It exceeds {limits.latency_p99_ms:g} ms. If its queue is not empty, add "
        "replicas or CPU; otherwise compare the time of the inference with that of the request.",
    )
    yield _alert(
        stack,
        "BerthUnhealthy",
        f"max by (model, version) ({select(stack, 'berth_gateway_unhealthy_berths')}) > 0",
        lasts="2m",
        severity="warning",
        summary=f"The gateway does not reach {_VERSION}",
        description="Its share of the requests goes to the healthy versions of the model, if there "
        f"are any. Run 'berth status', then 'berth logs {_MODEL}'.",
    )
    yield _alert(
        stack,
        "BerthFailover",
        f"{rate_sum(stack, 'berth_gateway_failovers_total', by, _WINDOW)} > 0",
        lasts=lasts,
        severity="warning",
        summary=f"Other versions answer requests of {_VERSION}",
        description="{{ $value | humanize }} requests per second that the traffic split assigned "
        "to it fail over. Clients get answers of another version. Run 'berth status'.",
    )


def _drift_alerts(stack: ScrapedStack) -> Iterator[dict[str, Any]]:
    drifted = select(stack, "berth_data_drift_detected")
    yield _alert(
        stack,
        "BerthDataDrift",
        # Workers and replicas compare windows of their own: one of them is enough.
        f"sum by (model, version) (max by (model, version, side, tensor, column) ({drifted})) > 0",
        severity="warning",
        summary=f"{{{{ $value }}}} columns of {_VERSION} differ from its training data",
        description="berth_data_drift_psi says which and how much. Check where these values come "
        "from. If they are right, train a version on newer data and package it.",
    )


def _gateway_alerts(stack: ScrapedStack) -> Iterator[dict[str, Any]]:
    rejected = select(stack, "berth_gateway_reloads_total", 'outcome="rejected"')
    yield _alert(
        stack,
        "BerthReloadRejected",
        f"sum(increase({rejected}[1h])) > 0",
        severity="warning",
        summary="A gateway rejected its new configuration",
        description="It keeps the earlier configuration, so clients, limits or routes are not "
        "those of the last update. Its log has the reason: run 'berth logs', then 'berth up'.",
    )
    if stack.has_shared_limits:
        yield _alert(
            stack,
            "BerthLimitsNotShared",
            f"min({select(stack, 'berth_gateway_limits_shared')}) == 0",
            lasts="5m",
            severity="warning",
            summary="A gateway does not reach Valkey",
            description="It applies the rate limits and quotas by itself, or not at all, as "
            "gateway.limits.when_unreachable says. Check the Valkey server.",
        )


def _quota_alerts(stack: ScrapedStack, limits: Thresholds) -> Iterator[dict[str, Any]]:
    for client, requests in stack.quotas.items():
        # Several gateways report the same counter, as each of them last knew it.
        used = f"max({select(stack, 'berth_gateway_quota_used', f'client={quote(client)}')})"
        yield _alert(
            stack,
            "BerthQuotaNearlyUsed",
            f"{used} / {requests} > {limits.quota_percent / 100:.6g}",
            severity="warning",
            summary=f"Client {client} used {_SHARE} of its quota",
            description=f"The gateway rejects its requests after {requests} in this period. Raise "
            "the client's quota, or tell its owner.",
            client=client,
        )


def _absence_alerts(stack: ScrapedStack) -> Iterator[dict[str, Any]]:
    yield _alert(
        stack,
        "BerthGatewayAbsent",
        f"absent({select(stack, 'berth_gateway_in_flight')})",
        lasts="5m",
        severity="critical",
        summary="Prometheus reads no metrics of a gateway",
        description="No gateway runs, or Prometheus cannot reach its metrics, and the other alerts "
        "cannot fire. Run 'berth status', and check the targets of Prometheus.",
    )
    for model, version in stack.berths:
        own = (f"model={quote(model)}", f"version={quote(version)}")
        yield _alert(
            stack,
            "BerthAbsent",
            f"absent({select(stack, 'berth_model_info', *own)})",
            lasts="5m",
            severity="critical",
            summary=f"Prometheus reads no metrics of {model} version {version}",
            description="No replica runs, or Prometheus cannot reach its metrics. Run 'berth "
            "status', and check the targets of Prometheus.",
            model=model,
            version=version,
        )
