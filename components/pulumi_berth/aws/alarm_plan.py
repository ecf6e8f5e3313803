"""The plan of a stack's alarms, as plain data.

An alarm goes off when each of so many minutes in a row breaches. A minute without data breaches
nothing: without traffic there is no alarm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pulumi_berth.aws import access_log_plan as log
from pulumi_berth.aws.watched import (
    Metric,
    WatchedModel,
    WatchedStack,
    answered,
    api,
    balancer,
    nodes,
    served,
    used,
)
from pulumi_berth.kubernetes.berth_plan import get_berth_name


@dataclass(frozen=True, kw_only=True)
class AlarmThresholds:
    """From when on a state is an alarm.

    Attributes:
        error_percent: of a model's answers that are 5xx.
        latency_p99_ms: that 99 of 100 answers of a model take at most.
        rate_limited_percent: of a model's answers that are 429.
        saturation_percent: of a version's processor, or of its queue, in use.
        minutes: that it lasts, 1 to 60.
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
        name: unique in the stack.
        says: what has happened when it goes off.
        metrics: what it looks at, each by a name; at most 10
            (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html).
        steps: what is calculated of them, each by a name. The last step is what is judged; where
            there is none, the one metric is.
        above: the value that it must not exceed.
        minutes: that it lasts.
    """

    name: str
    says: str
    metrics: Mapping[str, Metric]
    above: float
    minutes: int
    steps: Mapping[str, str] = field(default_factory=dict)


def percent_of_requests(what: str) -> str:
    """The share of `what` in `requests`, 0 in a minute without requests."""
    return f"IF(requests > 0, 100 * {what} / requests, 0)"


def model_alarms(
    watched: WatchedStack, model: WatchedModel, thresholds: AlarmThresholds
) -> list[Alarm]:
    """The alarms of one model: what its clients get, and how far its versions are used."""
    stack, name, limits = watched.stack, model.name, thresholds
    requests = answered(stack, name, log.REQUESTS)
    errors = answered(stack, name, log.ERRORS)
    throttled = answered(stack, name, log.THROTTLED)
    return [
        Alarm(
            name=f"{name}-errors",
            says=f"More than {limits.error_percent:g} % of the answers of {name} are 5xx",
            metrics={"requests": requests, "errors": errors},
            steps={"percent": percent_of_requests("errors")},
            above=limits.error_percent,
            minutes=limits.minutes,
        ),
        Alarm(
            name=f"{name}-latency",
            says=f"1 of 100 answers of {name} takes longer than {limits.latency_p99_ms:g} ms",
            metrics={"latency": answered(stack, name, log.LATENCY, "p99")},
            above=limits.latency_p99_ms,
            minutes=limits.minutes,
        ),
        Alarm(
            name=f"{name}-throttled",
            says=f"More than {limits.rate_limited_percent:g} % of the answers of {name} are 429",
            metrics={"requests": requests, "throttled": throttled},
            steps={"percent": percent_of_requests("throttled")},
            above=limits.rate_limited_percent,
            minutes=limits.minutes,
        ),
        *(
            alarm
            for version in model.versions
            for alarm in _saturation(watched, model, version, limits)
        ),
    ]


def _saturation(
    watched: WatchedStack, model: WatchedModel, version: str, limits: AlarmThresholds
) -> list[Alarm]:
    berth = get_berth_name(model.name, version)
    processor = "processor" if model.compute == "cpu" else "graphics processor"
    more = f"{model.name} {version} uses more than {limits.saturation_percent:g} % of its"
    alarms = [
        Alarm(
            name=f"{berth}-processor",
            says=f"{more} {processor}",
            metrics={"used": used(watched.cluster, model, version)},
            above=limits.saturation_percent,
            minutes=limits.minutes,
        )
    ]
    if model.queue:
        # The fullest queue of all copies: one that is full refuses requests, however empty others.
        waiting = served(watched.cluster, model.name, version, "berth_queue_requests", "Maximum")
        alarms.append(
            Alarm(
                name=f"{berth}-queue",
                says=f"{more} queue",
                metrics={"waiting": waiting},
                steps={"percent": f"100 * waiting / {model.queue}"},
                above=limits.saturation_percent,
                minutes=limits.minutes,
            )
        )
    return alarms


def stack_alarms(watched: WatchedStack, thresholds: AlarmThresholds) -> list[Alarm]:
    """The alarms of what all models share."""
    return [
        Alarm(
            name="errors",
            says=f"More than {thresholds.error_percent:g} % of the API's answers are 5xx",
            metrics={"share": api(watched.api, "5XXError", "Average")},
            steps={"percent": "100 * share"},
            above=thresholds.error_percent,
            minutes=thresholds.minutes,
        ),
        Alarm(
            name="unhealthy-nodes",
            says="A node does not answer the balancer",
            metrics={"nodes": balancer(watched.balancer, "UnHealthyHostCount", "Maximum")},
            above=0,
            minutes=thresholds.minutes,
        ),
        Alarm(
            name="failed-nodes",
            says="A node of the cluster has failed",
            metrics={"nodes": nodes(watched.cluster, "cluster_failed_node_count", "Maximum")},
            above=0,
            minutes=thresholds.minutes,
        ),
    ]
