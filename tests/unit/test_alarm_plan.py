"""Conditions of a stack's alarms."""

import re
from typing import Any

import pytest

from pulumi_berth.aws.alarm_plan import Alarm, model_alarms, stack_alarms
from tests.unit.monitored_stack import DIGITS, EVERYTHING, STACK, TEXTS, THRESHOLDS


def _by_name(model: Any) -> dict[str, Alarm]:
    return {alarm.name: alarm for alarm in model_alarms(STACK, model, THRESHOLDS)}


def _evaluate(alarm: Alarm, **values: float) -> float:
    """Evaluate CloudWatch metric math for one minute, for the functions that the plan uses."""
    names: dict[str, Any] = dict(values)
    result = 0.0
    for query_id, expression in alarm.expressions.items():
        python = re.sub(r"IF\((.+), (.+), (.+)\)", r"(\2) if \1 else (\3)", expression)
        names[query_id] = result = eval(python, {}, names)
    return result


@pytest.mark.parametrize(
    ("requests", "errors", "percent"), [(0, 0, 0), (200, 0, 0), (200, 3, 1.5), (1, 1, 100)]
)
def test_error_alarm_is_percent_of_requests_and_zero_without_traffic(
    requests: int, errors: int, percent: float
) -> None:
    alarm = _by_name(DIGITS)["digits-errors"]
    assert _evaluate(alarm, requests=requests, errors=errors) == percent
    assert alarm.threshold == 1


def test_rate_limit_alarm_is_percent_of_requests() -> None:
    alarm = _by_name(DIGITS)["digits-rate-limited"]
    assert _evaluate(alarm, requests=50, rate_limited=10) == 20
    assert _evaluate(alarm, requests=0, rate_limited=0) == 0


def test_each_version_has_saturation_alarm_for_its_compute() -> None:
    (cpu,) = _by_name(DIGITS)["digits-2-0-cpu"].metrics.values()
    assert cpu.name == "pod_cpu_utilization_over_pod_limit"
    assert cpu.dimensions["PodName"] == "digits-2-0"
    (gpu,) = _by_name(TEXTS)["texts-1-gpu"].metrics.values()
    assert gpu.name == "pod_gpu_utilization"


def test_queue_alarm_reads_fullest_replica_of_version() -> None:
    alarm = _by_name(DIGITS)["digits-2-0-queue"]
    (queued,) = alarm.metrics.values()
    assert queued.stat == "Maximum"
    assert queued.dimensions == {
        "ClusterName": "berth-prod", "model": "digits", "version": "2.0",
    }  # fmt: skip
    assert _evaluate(alarm, queued=256) == 50
    # A model without a queue has no queue alarm.
    assert "texts-1-queue" not in _by_name(TEXTS)


def test_latency_alarm_reads_p99() -> None:
    (latency,) = _by_name(DIGITS)["digits-latency"].metrics.values()
    assert (latency.namespace, latency.name, latency.stat) == (
        "Berth/prod/digits",
        "Latency",
        "p99",
    )


def test_alarm_names_are_unique_and_within_cloudwatch_limits() -> None:
    models = (DIGITS, TEXTS, EVERYTHING)
    alarms = [
        *stack_alarms(STACK, THRESHOLDS),
        *(alarm for model in models for alarm in model_alarms(STACK, model, THRESHOLDS)),
    ]
    assert len({alarm.name for alarm in alarms}) == len(alarms)
    for alarm in alarms:
        assert 1 <= len(alarm.metrics) <= 10
        # Without an expression, the only metric is the result.
        assert alarm.expressions or len(alarm.metrics) == 1
        assert alarm.minutes == 5


def test_stack_alarms_read_api_and_load_balancer() -> None:
    alarms = {alarm.name: alarm for alarm in stack_alarms(STACK, THRESHOLDS)}
    assert _evaluate(alarms["errors"], share=0.02) == 2
    (unhealthy,) = alarms["unhealthy-nodes"].metrics.values()
    assert unhealthy.dimensions == {
        "LoadBalancer": "net/berth/1",
        "TargetGroup": "targetgroup/berth/2",
    }
