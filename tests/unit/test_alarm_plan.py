"""When a stack's alarms go off."""

import re
from typing import Any

import pytest

from pulumi_berth.aws.alarm_plan import Alarm, model_alarms, stack_alarms
from tests.unit.watched_stack import DIGITS, EVERYTHING, STACK, TEXTS, THRESHOLDS


def _by_name(model: Any) -> dict[str, Alarm]:
    return {alarm.name: alarm for alarm in model_alarms(STACK, model, THRESHOLDS)}


def _judged(alarm: Alarm, **values: float) -> float:
    """What CloudWatch's metric math makes of a minute, for the functions that plans use."""
    known: dict[str, Any] = dict(values)
    result = 0.0
    for step, expression in alarm.steps.items():
        python = re.sub(r"IF\((.+), (.+), (.+)\)", r"(\2) if \1 else (\3)", expression)
        known[step] = result = eval(python, {}, known)
    return result


@pytest.mark.parametrize(
    ("requests", "errors", "percent"), [(0, 0, 0), (200, 0, 0), (200, 3, 1.5), (1, 1, 100)]
)
def test_errors_are_a_share_and_no_traffic_is_none(
    requests: int, errors: int, percent: float
) -> None:
    alarm = _by_name(DIGITS)["digits-errors"]
    assert _judged(alarm, requests=requests, errors=errors) == percent
    assert alarm.above == 1


def test_throttled_requests_are_a_share() -> None:
    alarm = _by_name(DIGITS)["digits-throttled"]
    assert _judged(alarm, requests=50, throttled=10) == 20
    assert _judged(alarm, requests=0, throttled=0) == 0


def test_each_version_saturates_by_itself_on_what_it_runs_on() -> None:
    (cpu,) = _by_name(DIGITS)["digits-2-0-processor"].metrics.values()
    assert cpu.name == "pod_cpu_utilization_over_pod_limit"
    assert cpu.dimensions["PodName"] == "digits-2-0"
    (gpu,) = _by_name(TEXTS)["texts-1-processor"].metrics.values()
    assert gpu.name == "pod_gpu_utilization"


def test_the_queue_is_that_of_the_fullest_copy_of_this_version() -> None:
    alarm = _by_name(DIGITS)["digits-2-0-queue"]
    (waiting,) = alarm.metrics.values()
    assert waiting.stat == "Maximum"
    assert waiting.dimensions == {
        "ClusterName": "berth-prod", "model": "digits", "version": "2.0",
    }  # fmt: skip
    assert _judged(alarm, waiting=256) == 50
    # Where nothing may wait there is no queue to fill.
    assert "texts-1-queue" not in _by_name(TEXTS)


def test_latency_is_the_slowest_of_a_hundred() -> None:
    (latency,) = _by_name(DIGITS)["digits-latency"].metrics.values()
    assert (latency.namespace, latency.name, latency.stat) == (
        "Berth/prod/digits",
        "Latency",
        "p99",
    )


def test_names_are_unique_and_limits_kept() -> None:
    models = (DIGITS, TEXTS, EVERYTHING)
    alarms = [
        *stack_alarms(STACK, THRESHOLDS),
        *(alarm for model in models for alarm in model_alarms(STACK, model, THRESHOLDS)),
    ]
    assert len({alarm.name for alarm in alarms}) == len(alarms)
    for alarm in alarms:
        assert 1 <= len(alarm.metrics) <= 10
        # Without a step there is one metric to judge, and no doubt which.
        assert alarm.steps or len(alarm.metrics) == 1
        assert alarm.minutes == 5


def test_what_all_models_share() -> None:
    alarms = {alarm.name: alarm for alarm in stack_alarms(STACK, THRESHOLDS)}
    assert _judged(alarms["errors"], share=0.02) == 2
    (unhealthy,) = alarms["unhealthy-nodes"].metrics.values()
    assert unhealthy.dimensions == {
        "LoadBalancer": "net/berth/1",
        "TargetGroup": "targetgroup/berth/2",
    }
