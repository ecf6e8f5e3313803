"""When a stack's alarms go off."""

import re
from typing import Any

import pytest

from components.aws.alarm_plan import Alarm, model_alarms, stack_alarms
from tests.unit.watched_stack import DIGITS, EVERYTHING, STACK, TEXTS, THRESHOLDS


def _by_name(model: Any) -> dict[str, Alarm]:
    return {alarm.name: alarm for alarm in model_alarms(STACK, model, THRESHOLDS)}


def _judged(alarm: Alarm, **values: float) -> float:
    """What CloudWatch's metric math makes of a minute, for the functions that plans use."""
    known: dict[str, Any] = {"MAX": max, **values}
    result = values.get("latency", 0.0)
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


@pytest.mark.parametrize(("used", "waiting", "worse"), [(90, 0, 90), (10, 256, 50), (10, 512, 100)])
def test_saturation_is_the_worse_of_processor_and_queue(
    used: float, waiting: int, worse: float
) -> None:
    alarm = _by_name(DIGITS)["digits-1-saturation"]
    assert _judged(alarm, used=used, waiting=waiting) == worse


def test_each_version_saturates_by_itself_on_what_it_runs_on() -> None:
    digits, texts = _by_name(DIGITS), _by_name(TEXTS)
    used = digits["digits-2-0-saturation"].metrics["used"]
    assert used.name == "pod_cpu_utilization_over_pod_limit"
    assert used.dimensions["PodName"] == "digits-2-0"
    # Without a queue nothing waits: the graphics processor alone is judged.
    assert texts["texts-1-saturation"].steps == {}
    (gpu,) = texts["texts-1-saturation"].metrics.values()
    assert gpu.name == "pod_gpu_utilization"


def test_the_queue_is_that_of_the_fullest_copy_of_this_version() -> None:
    waiting = _by_name(DIGITS)["digits-2-0-saturation"].metrics["waiting"]
    assert waiting.stat == "Maximum"
    assert waiting.dimensions == {
        "ClusterName": "berth-prod",
        "model": "digits",
        "version": "2.0",
    }


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
