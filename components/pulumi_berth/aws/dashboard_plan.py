"""The dashboards of a stack, as plain data.

A CloudWatch dashboard has up to 500 widgets, up to 500 metrics in a widget and up to 2500 metrics
in total. The grid has 24 columns
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html).
A model with 50 versions, the maximum in the specification, needs about 260 metrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi_berth.aws import access_log_plan as log
from pulumi_berth.aws.alarm_plan import AlarmThresholds, percent_of_requests
from pulumi_berth.aws.metrics import (
    Metric,
    MonitoredModel,
    MonitoredStack,
    api_metric,
    balancer_metric,
    berth_metric,
    client_metric,
    node_metric,
    pod_metric,
    utilization_metric,
)

_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 6


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A line of a widget: a metric, or an expression over metrics with an `id`."""

    label: str
    metric: Metric | None = None
    expression: str | None = None
    id: str | None = None
    hidden: bool = False


def model_dashboard(
    stack: MonitoredStack, model: MonitoredModel, thresholds: AlarmThresholds, region: str
) -> dict[str, Any]:
    """Return the dashboard of one model.

    It shows traffic, errors, latency, rate limiting, saturation and replicas.
    """
    cluster, name = stack.cluster, model.name

    def client(metric: str, stat: str = "Sum") -> Metric:
        return client_metric(stack.stack, name, metric, stat)

    def percent(metric_id: str, label: str, metric: str) -> list[_Line]:
        return [
            _Line(label="requests", metric=client(log.REQUESTS), id="requests", hidden=True),
            _Line(label=label, metric=client(metric), id=metric_id, hidden=True),
            _Line(label=f"{label} %", expression=percent_of_requests(metric_id)),
        ]

    def per_version(label: str, metrics: Mapping[str, Metric]) -> list[_Line]:
        return [
            _Line(label=f"{version} {label}", metric=metric) for version, metric in metrics.items()
        ]

    def from_berths(metric: str, stat: str) -> dict[str, Metric]:
        return {
            version: berth_metric(cluster, name, version, metric, stat)
            for version in model.versions
        }

    def from_pods(metric: str) -> dict[str, Metric]:
        return {version: pod_metric(cluster, name, version, metric) for version in model.versions}

    utilization = {
        version: utilization_metric(cluster, model, version) for version in model.versions
    }
    saturation = per_version(f"{model.compute} %", utilization)
    if model.queue:
        saturation += _queue_lines(from_berths("berth_queue_requests", "Maximum"), model.queue)
    return _dashboard(
        [
            _widget(
                "Traffic: requests per minute",
                [
                    _Line(label="all", metric=client(log.REQUESTS)),
                    *per_version("served", from_berths("berth_requests_total", "Sum")),
                ],
            ),
            _widget(
                "Errors: 5xx in percent",
                percent("errors", "errors", log.ERRORS),
                thresholds.error_percent,
            ),
            _widget(
                "Latency: milliseconds",
                [_Line(label=stat, metric=client(log.LATENCY, stat)) for stat in ("p50", "p99")],
                thresholds.latency_p99_ms,
            ),
            _widget(
                "Rate limited: 429 in percent",
                percent("rate_limited", "rate limited", log.RATE_LIMITED),
                thresholds.rate_limited_percent,
            ),
            _widget(
                f"Saturation: {model.compute.upper()} and fullest queue in percent",
                saturation,
                thresholds.saturation_percent,
            ),
            _widget(
                "Replicas",
                [
                    *per_version("ready", from_pods("replicas_ready")),
                    *per_version("desired", from_pods("replicas_desired")),
                ],
            ),
        ],
        region,
    )


def stack_dashboard(
    stack: MonitoredStack, thresholds: AlarmThresholds, region: str
) -> dict[str, Any]:
    """Return the dashboard of the parts that all models share: API, load balancer, nodes."""
    error_share = api_metric(stack.api, "5XXError", "Average")
    return _dashboard(
        [
            _widget(
                "Traffic: requests per minute",
                [
                    _Line(label="all", metric=api_metric(stack.api, "Count", "Sum")),
                    _Line(label="4xx", metric=api_metric(stack.api, "4XXError", "Sum")),
                ],
            ),
            _widget(
                "Errors: 5xx in percent",
                [
                    _Line(label="5xx", metric=error_share, id="share", hidden=True),
                    _Line(label="5xx %", expression="100 * share"),
                ],
                thresholds.error_percent,
            ),
            _widget(
                "Latency: milliseconds",
                [
                    _Line(label=stat, metric=api_metric(stack.api, "Latency", stat))
                    for stat in ("p50", "p99")
                ],
            ),
            _widget(
                "Nodes behind the load balancer",
                [
                    _Line(
                        label="healthy",
                        metric=balancer_metric(stack.balancer, "HealthyHostCount", "Minimum"),
                    ),
                    _Line(
                        label="unhealthy",
                        metric=balancer_metric(stack.balancer, "UnHealthyHostCount", "Maximum"),
                    ),
                ],
            ),
            _widget(
                "Nodes: utilization in percent",
                [
                    _Line(
                        label=resource,
                        metric=node_metric(
                            stack.cluster, f"node_{resource}_utilization", "Average"
                        ),
                    )
                    for resource in ("cpu", "memory", "filesystem")
                ],
            ),
            _widget(
                "Nodes of the cluster",
                [
                    _Line(
                        label="all",
                        metric=node_metric(stack.cluster, "cluster_node_count", "Maximum"),
                    ),
                    _Line(
                        label="failed",
                        metric=node_metric(stack.cluster, "cluster_failed_node_count", "Maximum"),
                    ),
                ],
            ),
        ],
        region,
    )


def _queue_lines(queued: Mapping[str, Metric], capacity: int) -> list[_Line]:
    lines = []
    for index, (version, metric) in enumerate(queued.items()):
        metric_id = f"queued{index}"
        lines += [
            _Line(label=version, metric=metric, id=metric_id, hidden=True),
            _Line(label=f"{version} queue %", expression=f"100 * {metric_id} / {capacity}"),
        ]
    return lines


def _dashboard(widgets: Sequence[dict[str, Any]], region: str) -> dict[str, Any]:
    return {"widgets": [_place(widget, index, region) for index, widget in enumerate(widgets)]}


def _place(widget: dict[str, Any], index: int, region: str) -> dict[str, Any]:
    row, column = divmod(index, _COLUMNS)
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
    options: dict[str, Any] = {"label": line.label}
    if line.id:
        options["id"] = line.id
    if line.hidden:
        options["visible"] = False
    if line.metric is None:
        return [{**options, "expression": line.expression}]
    dimensions = [part for dimension in line.metric.dimensions.items() for part in dimension]
    return [
        line.metric.namespace,
        line.metric.name,
        *dimensions,
        {**options, "stat": line.metric.stat},
    ]
