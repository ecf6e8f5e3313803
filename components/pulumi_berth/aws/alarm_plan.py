"""The alarms of a stack, as plain data.

An alarm fires if every minute of its evaluation period breaches. A minute without data does not
breach: without traffic there is no alarm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pulumi_berth.aws import access_log_plan as log
from pulumi_berth.aws.metrics import (
    Metric,
    MonitoredModel,
    MonitoredStack,
    api_metric,
    balancer_metric,
    berth_metric,
    client_metric,
    node_metric,
    utilization_metric,
)
from pulumi_berth.kubernetes.berth_plan import get_berth_name


@dataclass(frozen=True, kw_only=True)
class AlarmThresholds:
    """Limits at which alarms fire.

    Attributes:
        error_percent: Maximum percentage of a model's responses that are 5xx.
        latency_p99_ms: Maximum p99 latency of a model, in milliseconds.
        rate_limited_percent: Maximum percentage of a model's responses that are 429.
        saturation_percent: Maximum use of a version's CPU, GPU or queue, in percent.
        minutes: Minutes that a breach lasts before the alarm fires, 1 to 60.
    """

    error_percent: float
    latency_p99_ms: float
    rate_limited_percent: float
    saturation_percent: float
    minutes: int


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """An alarm.

    Attributes:
        name: Name, unique in the stack.
        description: Condition that made the alarm fire.
        metrics: Metrics by ID, at most 10
            (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html).
        threshold: Value that the result must not exceed.
        minutes: Minutes that a breach lasts before the alarm fires.
        expressions: Calculations by ID. The last one is the result. Without any, the single metric
            is the result.
    """

    name: str
    description: str
    metrics: Mapping[str, Metric]
    threshold: float
    minutes: int
    expressions: Mapping[str, str] = field(default_factory=dict)


def percent_of_requests(metric_id: str) -> str:
    """Return an expression for the share of a metric in `requests`. Without requests it is 0."""
    return f"IF(requests > 0, 100 * {metric_id} / requests, 0)"


def model_alarms(
    stack: MonitoredStack, model: MonitoredModel, thresholds: AlarmThresholds
) -> list[Alarm]:
    """Return the alarms of one model: its responses, and the saturation of its versions."""
    name = model.name
    requests = client_metric(stack.stack, name, log.REQUESTS)
    errors = client_metric(stack.stack, name, log.ERRORS)
    rate_limited = client_metric(stack.stack, name, log.RATE_LIMITED)
    return [
        Alarm(
            name=f"{name}-errors",
            description=(
                f"More than {thresholds.error_percent:g} % of the responses of {name} are 5xx"
            ),
            metrics={"requests": requests, "errors": errors},
            expressions={"percent": percent_of_requests("errors")},
            threshold=thresholds.error_percent,
            minutes=thresholds.minutes,
        ),
        Alarm(
            name=f"{name}-latency",
            description=f"The p99 latency of {name} exceeds {thresholds.latency_p99_ms:g} ms",
            metrics={"latency": client_metric(stack.stack, name, log.LATENCY, "p99")},
            threshold=thresholds.latency_p99_ms,
            minutes=thresholds.minutes,
        ),
        Alarm(
            name=f"{name}-rate-limited",
            description=(
                f"More than {thresholds.rate_limited_percent:g} % of the responses of {name} are "
                "429"
            ),
            metrics={"requests": requests, "rate_limited": rate_limited},
            expressions={"percent": percent_of_requests("rate_limited")},
            threshold=thresholds.rate_limited_percent,
            minutes=thresholds.minutes,
        ),
        *(
            alarm
            for version in model.versions
            for alarm in _saturation_alarms(stack, model, version, thresholds)
        ),
    ]


def _saturation_alarms(
    stack: MonitoredStack, model: MonitoredModel, version: str, thresholds: AlarmThresholds
) -> list[Alarm]:
    berth = get_berth_name(model.name, version)
    subject = f"{model.name} {version} uses more than {thresholds.saturation_percent:g} % of its"
    alarms = [
        Alarm(
            name=f"{berth}-{model.compute}",
            description=f"{subject} {model.compute.upper()}",
            metrics={"utilization": utilization_metric(stack.cluster, model, version)},
            threshold=thresholds.saturation_percent,
            minutes=thresholds.minutes,
        )
    ]
    if model.queue:
        # Take the fullest queue: a full replica rejects requests even if other replicas are idle.
        queued = berth_metric(stack.cluster, model.name, version, "berth_queue_requests", "Maximum")
        alarms.append(
            Alarm(
                name=f"{berth}-queue",
                description=f"{subject} queue",
                metrics={"queued": queued},
                expressions={"percent": f"100 * queued / {model.queue}"},
                threshold=thresholds.saturation_percent,
                minutes=thresholds.minutes,
            )
        )
    return alarms


def stack_alarms(stack: MonitoredStack, thresholds: AlarmThresholds) -> list[Alarm]:
    """Return the alarms of the parts that all models share."""
    return [
        Alarm(
            name="errors",
            description=(
                f"More than {thresholds.error_percent:g} % of the API's responses are 5xx"
            ),
            metrics={"share": api_metric(stack.api, "5XXError", "Average")},
            expressions={"percent": "100 * share"},
            threshold=thresholds.error_percent,
            minutes=thresholds.minutes,
        ),
        Alarm(
            name="unhealthy-nodes",
            description="A node fails the load balancer's health check",
            metrics={"nodes": balancer_metric(stack.balancer, "UnHealthyHostCount", "Maximum")},
            threshold=0,
            minutes=thresholds.minutes,
        ),
        Alarm(
            name="failed-nodes",
            description="A node of the cluster has failed",
            metrics={"nodes": node_metric(stack.cluster, "cluster_failed_node_count", "Maximum")},
            threshold=0,
            minutes=thresholds.minutes,
        ),
    ]
