"""The CloudWatch agent collects the metrics that alarms and dashboards read."""

import re
from typing import Any

from berth_serving.metrics import Metrics
from pulumi_berth.aws.agent_settings import build_agent_settings
from pulumi_berth.aws.alarm_plan import model_alarms
from pulumi_berth.aws.dashboard_plan import model_dashboard
from pulumi_berth.aws.metrics import BERTH_NAMESPACE
from tests.unit.monitored_stack import DIGITS, STACK, THRESHOLDS

_SETTINGS = build_agent_settings("berth-prod", "berth")["agent"]
_PROMETHEUS = _SETTINGS["config"]["logs"]["metrics_collected"]["prometheus"]


def _collected_metrics() -> dict[tuple[str, ...], set[str]]:
    """Return the collected metrics by their dimensions."""
    return {
        tuple(sorted(dimensions)): {selector.strip("^$") for selector in entry["metric_selectors"]}
        for entry in _PROMETHEUS["emf_processor"]["metric_declaration"]
        for dimensions in entry["dimensions"]
    }


def test_berths_export_collected_metrics_as_counters_and_gauges() -> None:
    metrics = Metrics(None)
    metrics.requests.labels("digits", "1", "200").inc()
    metrics.queue.labels("digits", "1").set(0)
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", metrics.render().decode(), re.MULTILINE))
    names = set.union(*_collected_metrics().values())
    assert {kinds[name] for name in names} == {"counter", "gauge"}


def test_metrics_of_alarms_and_dashboards_are_collected() -> None:
    used: set[tuple[tuple[str, ...], str]] = {
        (tuple(sorted(metric.dimensions)), metric.name)
        for alarm in model_alarms(STACK, DIGITS, THRESHOLDS)
        for metric in alarm.metrics.values()
        if metric.namespace == BERTH_NAMESPACE
    }
    for widget in model_dashboard(STACK, DIGITS, THRESHOLDS, "eu-central-1")["widgets"]:
        for row in widget["properties"]["metrics"]:
            if row[0] == BERTH_NAMESPACE:
                used.add((tuple(sorted(row[2:-1:2])), row[1]))
    assert {name for _, name in used} == {"berth_requests_total", "berth_queue_requests"}
    collected = _collected_metrics()
    assert all(name in collected[dimensions] for dimensions, name in used)
    assert _PROMETHEUS["emf_processor"]["metric_namespace"] == BERTH_NAMESPACE


def test_agent_scrapes_only_berths_on_its_node() -> None:
    (job,) = _SETTINGS["prometheus"]["config"]["scrape_configs"]
    (discovery,) = job["kubernetes_sd_configs"]
    (selector,) = discovery["selectors"]
    assert discovery["namespaces"] == {"names": ["berth"]}
    assert selector["field"] == "spec.nodeName=${env:K8S_NODE_NAME}"
    declarations: list[dict[str, Any]] = _PROMETHEUS["emf_processor"]["metric_declaration"]
    assert {entry["label_matcher"] for entry in declarations} == {f"^{job['job_name']}$"}
