"""What CloudWatch's agent reads from the berths is what alarms and dashboards look at."""

import re
from typing import Any

from berth_serving.metrics import Metrics
from pulumi_berth.aws.agent_settings import agent_settings
from pulumi_berth.aws.alarm_plan import model_alarms
from pulumi_berth.aws.dashboard_plan import model_dashboard
from pulumi_berth.aws.watched import BERTH_NAMESPACE
from tests.unit.watched_stack import DIGITS, STACK, THRESHOLDS

_SETTINGS = agent_settings("berth-prod", "berth")["agent"]
_COLLECTED = _SETTINGS["config"]["logs"]["metrics_collected"]["prometheus"]


def _declared() -> dict[tuple[str, ...], set[str]]:
    """Dimensions -> metrics."""
    return {
        tuple(sorted(dimensions)): {selector.strip("^$") for selector in entry["metric_selectors"]}
        for entry in _COLLECTED["emf_processor"]["metric_declaration"]
        for dimensions in entry["dimensions"]
    }


def test_the_berths_have_these_metrics_and_none_is_a_histogram() -> None:
    metrics = Metrics(None)
    metrics.requests.labels("digits", "1", "200").inc()
    metrics.queue.labels("digits", "1").set(0)
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", metrics.text().decode(), re.MULTILINE))
    wanted = set.union(*_declared().values())
    assert {kinds[name] for name in wanted} == {"counter", "gauge"}


def test_what_is_looked_at_is_collected() -> None:
    looked_at: set[tuple[tuple[str, ...], str]] = {
        (tuple(sorted(metric.dimensions)), metric.name)
        for alarm in model_alarms(STACK, DIGITS, THRESHOLDS)
        for metric in alarm.metrics.values()
        if metric.namespace == BERTH_NAMESPACE
    }
    for widget in model_dashboard(STACK, DIGITS, THRESHOLDS, "eu-central-1")["widgets"]:
        for row in widget["properties"]["metrics"]:
            if row[0] == BERTH_NAMESPACE:
                looked_at.add((tuple(sorted(row[2:-1:2])), row[1]))
    assert {name for _, name in looked_at} == {"berth_requests_total", "berth_queue_requests"}
    declared = _declared()
    assert all(name in declared[dimensions] for dimensions, name in looked_at)
    assert _COLLECTED["emf_processor"]["metric_namespace"] == BERTH_NAMESPACE


def test_only_the_nodes_own_berths_are_read() -> None:
    (job,) = _SETTINGS["prometheus"]["config"]["scrape_configs"]
    (found,) = job["kubernetes_sd_configs"]
    (selector,) = found["selectors"]
    assert found["namespaces"] == {"names": ["berth"]}
    assert selector["field"] == "spec.nodeName=${env:K8S_NODE_NAME}"
    declarations: list[dict[str, Any]] = _COLLECTED["emf_processor"]["metric_declaration"]
    assert {entry["label_matcher"] for entry in declarations} == {f"^{job['job_name']}$"}
