"""The plan of a stack's dashboards, as plain data.

CloudWatch draws up to 500 widgets on a dashboard, up to 500 metrics in a widget and up to 2500 in
all of them; the grid is 24 wide
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html).
A model of the most versions that the specification takes, 50, comes to about 260 metrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi_berth.aws import access_log_plan as log
from pulumi_berth.aws.alarm_plan import AlarmThresholds, percent_of_requests
from pulumi_berth.aws.watched import (
    Metric,
    WatchedModel,
    WatchedStack,
    answered,
    api,
    balancer,
    nodes,
    pods,
    served,
    used,
)

_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 6


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A line of a widget: a metric, or what is calculated of those that have an `id`."""

    label: str
    metric: Metric | None = None
    expression: str | None = None
    id: str | None = None
    hidden: bool = False


def model_dashboard(
    watched: WatchedStack, model: WatchedModel, thresholds: AlarmThresholds, region: str
) -> dict[str, Any]:
    """A dashboard of one model: traffic, errors, latency, throttled, saturation, copies."""
    stack, cluster, name = watched.stack, watched.cluster, model.name
    requests = _Line(
        label="requests", metric=answered(stack, name, log.REQUESTS), id="requests", hidden=True
    )

    def share(what: str, metric: str) -> list[_Line]:
        counted = _Line(label=what, metric=answered(stack, name, metric), id=what, hidden=True)
        return [requests, counted, _Line(label=f"{what} %", expression=percent_of_requests(what))]

    def each(label: str, metrics: Mapping[str, Metric]) -> list[_Line]:
        return [_Line(label=f"{version} {label}", metric=of) for version, of in metrics.items()]

    def by(gauge: str, stat: str) -> dict[str, Metric]:
        return {version: served(cluster, name, version, gauge, stat) for version in model.versions}

    def copies(state: str) -> dict[str, Metric]:
        return {version: pods(cluster, name, version, state) for version in model.versions}

    processors = {version: used(cluster, model, version) for version in model.versions}
    saturation = each(f"{model.compute} %", processors)
    if model.queue:
        saturation += _queues(by("berth_queue_requests", "Maximum"), model.queue)
    return _dashboard(
        [
            _widget(
                "Traffic: requests a minute",
                [
                    _Line(label="all", metric=answered(stack, name, log.REQUESTS)),
                    *each("served", by("berth_requests_total", "Sum")),
                ],
            ),
            _widget(
                "Errors: 5xx in percent", share("errors", log.ERRORS), thresholds.error_percent
            ),
            _widget(
                "Latency: milliseconds",
                [
                    _Line(label=stat, metric=answered(stack, name, log.LATENCY, stat))
                    for stat in ("p50", "p99")
                ],
                thresholds.latency_p99_ms,
            ),
            _widget(
                "Throttled: 429 in percent",
                share("throttled", log.THROTTLED),
                thresholds.rate_limited_percent,
            ),
            _widget(
                "Saturation: processor and fullest queue in percent",
                saturation,
                thresholds.saturation_percent,
            ),
            _widget(
                "Copies",
                [
                    *each("ready", copies("replicas_ready")),
                    *each("wanted", copies("replicas_desired")),
                ],
            ),
        ],
        region,
    )


def stack_dashboard(
    watched: WatchedStack, thresholds: AlarmThresholds, region: str
) -> dict[str, Any]:
    """A dashboard of what all models share: the API, the balancer and the nodes."""
    cluster, behind = watched.cluster, watched.balancer
    share = [
        _Line(label="5xx", metric=api(watched.api, "5XXError", "Average"), id="share", hidden=True),
        _Line(label="5xx %", expression="100 * share"),
    ]
    return _dashboard(
        [
            _widget(
                "Traffic: requests a minute",
                [
                    _Line(label="all", metric=api(watched.api, "Count", "Sum")),
                    _Line(label="4xx", metric=api(watched.api, "4XXError", "Sum")),
                ],
            ),
            _widget("Errors: 5xx in percent", share, thresholds.error_percent),
            _widget(
                "Latency: milliseconds",
                [
                    _Line(label=stat, metric=api(watched.api, "Latency", stat))
                    for stat in ("p50", "p99")
                ],
            ),
            _widget(
                "Nodes behind the balancer",
                [
                    _Line(label="healthy", metric=balancer(behind, "HealthyHostCount", "Minimum")),
                    _Line(
                        label="unhealthy", metric=balancer(behind, "UnHealthyHostCount", "Maximum")
                    ),
                ],
            ),
            _widget(
                "Nodes: in use, in percent",
                [
                    _Line(label=what, metric=nodes(cluster, f"node_{what}_utilization", "Average"))
                    for what in ("cpu", "memory", "filesystem")
                ],
            ),
            _widget(
                "Nodes of the cluster",
                [
                    _Line(label="all", metric=nodes(cluster, "cluster_node_count", "Maximum")),
                    _Line(
                        label="failed",
                        metric=nodes(cluster, "cluster_failed_node_count", "Maximum"),
                    ),
                ],
            ),
        ],
        region,
    )


def _queues(waiting: Mapping[str, Metric], most: int) -> list[_Line]:
    lines = []
    for index, (version, metric) in enumerate(waiting.items()):
        name = f"waiting{index}"
        lines += [
            _Line(label=version, metric=metric, id=name, hidden=True),
            _Line(label=f"{version} queue %", expression=f"100 * {name} / {most}"),
        ]
    return lines


def _dashboard(widgets: Sequence[dict[str, Any]], region: str) -> dict[str, Any]:
    return {"widgets": [_placed(widget, at, region) for at, widget in enumerate(widgets)]}


def _placed(widget: dict[str, Any], at: int, region: str) -> dict[str, Any]:
    row, column = divmod(at, _COLUMNS)
    return {
        "type": "metric",
        "x": column * _WIDTH,
        "y": row * _HEIGHT,
        "width": _WIDTH,
        "height": _HEIGHT,
        "properties": {**widget, "region": region},
    }


def _widget(title: str, lines: Sequence[_Line], alarm: float | None = None) -> dict[str, Any]:
    return {
        "title": title,
        "view": "timeSeries",
        "period": 60,
        "metrics": [_row(line) for line in lines],
        "yAxis": {"left": {"min": 0}},
        **(
            {}
            if alarm is None
            else {"annotations": {"horizontal": [{"label": "alarm", "value": alarm}]}}
        ),
    }


def _row(line: _Line) -> list[Any]:
    shown: dict[str, Any] = {"label": line.label}
    if line.id:
        shown["id"] = line.id
    if line.hidden:
        shown["visible"] = False
    if line.metric is None:
        return [{**shown, "expression": line.expression}]
    dimensions = [part for dimension in line.metric.dimensions.items() for part in dimension]
    return [
        line.metric.namespace,
        line.metric.name,
        *dimensions,
        {**shown, "stat": line.metric.stat},
    ]
