"""Contents of a stack's dashboards."""

import re
from itertools import combinations
from typing import Any

import pytest

from pulumi_berth.aws.dashboard_plan import model_dashboard, stack_dashboard
from tests.unit.monitored_stack import DIGITS, EVERYTHING, STACK, TEXTS, THRESHOLDS

_BODIES = {
    "stack": stack_dashboard(STACK, THRESHOLDS, "eu-central-1"),
    **{
        model.name: model_dashboard(STACK, model, THRESHOLDS, "eu-central-1")
        for model in (DIGITS, TEXTS, EVERYTHING)
    },
}


def _widget(body: dict[str, Any], title: str) -> dict[str, Any]:
    (properties,) = (
        widget["properties"]
        for widget in body["widgets"]
        if widget["properties"]["title"].startswith(title)
    )
    assert isinstance(properties, dict)
    return properties


def _labels(widget: dict[str, Any]) -> list[str]:
    return [row[-1]["label"] for row in widget["metrics"] if row[-1].get("visible", True)]


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES)
def test_widgets_fit_on_the_grid_without_overlap(body: dict[str, Any]) -> None:
    cells = [
        {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        for widget in body["widgets"]
    ]
    assert all(x < 24 for covered in cells for x, _ in covered)
    assert not any(one & other for one, other in combinations(cells, 2))


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES)
def test_number_of_metrics_is_within_cloudwatch_limits(body: dict[str, Any]) -> None:
    counts = [len(widget["properties"]["metrics"]) for widget in body["widgets"]]
    assert len(counts) <= 500
    assert max(counts) <= 500
    assert sum(counts) <= 2500


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES)
def test_expressions_use_only_metrics_of_their_widget(body: dict[str, Any]) -> None:
    for widget in body["widgets"]:
        options = [row[-1] for row in widget["properties"]["metrics"]]
        ids = [option["id"] for option in options if "id" in option]
        assert len(set(ids)) == len(ids)
        for option in options:
            used = re.findall(r"\b[a-z]\w*", option.get("expression", ""))
            assert set(used) <= set(ids)
        assert widget["properties"]["region"] == "eu-central-1"


def test_model_dashboard_has_six_widgets() -> None:
    titles = [
        re.match(r"[\w ]+", widget["properties"]["title"])[0]  # type: ignore[index]
        for widget in _BODIES["digits"]["widgets"]
    ]
    assert titles == ["Traffic", "Errors", "Latency", "Rate limited", "Saturation", "Replicas"]


def test_widgets_show_alarm_thresholds() -> None:
    thresholds = {
        title: _widget(_BODIES["digits"], title)["annotations"]["horizontal"][0]["value"]
        for title in ("Errors", "Latency", "Rate limited", "Saturation")
    }
    assert thresholds == {"Errors": 1, "Latency": 500, "Rate limited": 5, "Saturation": 85}


def test_widgets_have_a_line_for_each_version() -> None:
    body = _BODIES["digits"]
    assert _labels(_widget(body, "Traffic")) == ["all", "1 served", "2.0 served"]
    assert _labels(_widget(body, "Replicas")) == [
        "1 ready", "2.0 ready", "1 desired", "2.0 desired",
    ]  # fmt: skip
    assert _labels(_widget(body, "Saturation")) == [
        "1 cpu %", "2.0 cpu %", "1 queue %", "2.0 queue %",
    ]  # fmt: skip
    assert _labels(_widget(_BODIES["texts"], "Saturation")) == ["1 gpu %"]


def test_metric_has_format_of_cloudwatch() -> None:
    rows = _widget(_BODIES["stack"], "Latency")["metrics"]
    assert rows[1] == [
        "AWS/ApiGateway", "Latency", "ApiName", "berth-prod", "Stage", "v2",
        {"label": "p99", "stat": "p99"},
    ]  # fmt: skip
