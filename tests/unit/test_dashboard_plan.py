"""What a stack's dashboards show."""

import re
from itertools import combinations
from typing import Any

import pytest

from pulumi_berth.aws.dashboard_plan import model_dashboard, stack_dashboard
from tests.unit.watched_stack import DIGITS, EVERYTHING, STACK, TEXTS, THRESHOLDS

_BODIES = {
    "stack": stack_dashboard(STACK, THRESHOLDS, "eu-central-1"),
    **{
        model.name: model_dashboard(STACK, model, THRESHOLDS, "eu-central-1")
        for model in (DIGITS, TEXTS, EVERYTHING)
    },
}


def _widget(body: dict[str, Any], title: str) -> dict[str, Any]:
    (found,) = (
        widget["properties"]
        for widget in body["widgets"]
        if widget["properties"]["title"].startswith(title)
    )
    assert isinstance(found, dict)
    return found


def _labels(widget: dict[str, Any]) -> list[str]:
    return [row[-1]["label"] for row in widget["metrics"] if row[-1].get("visible", True)]


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES)
def test_widgets_lie_on_the_grid_and_apart(body: dict[str, Any]) -> None:
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
def test_cloudwatch_takes_as_many_metrics(body: dict[str, Any]) -> None:
    counts = [len(widget["properties"]["metrics"]) for widget in body["widgets"]]
    assert len(counts) <= 500
    assert max(counts) <= 500
    assert sum(counts) <= 2500


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES)
def test_what_is_calculated_is_in_the_same_widget(body: dict[str, Any]) -> None:
    for widget in body["widgets"]:
        options = [row[-1] for row in widget["properties"]["metrics"]]
        ids = [option["id"] for option in options if "id" in option]
        assert len(set(ids)) == len(ids)
        for option in options:
            used = re.findall(r"\b[a-z]\w*", option.get("expression", ""))
            assert set(used) <= set(ids)
        assert widget["properties"]["region"] == "eu-central-1"


def test_a_model_has_traffic_errors_latency_throttled_saturation_and_copies() -> None:
    titles = [
        re.match(r"\w+", widget["properties"]["title"])[0]  # type: ignore[index]
        for widget in _BODIES["digits"]["widgets"]
    ]
    assert titles == ["Traffic", "Errors", "Latency", "Throttled", "Saturation", "Copies"]


def test_where_an_alarm_goes_off_is_drawn() -> None:
    drawn = {
        title: _widget(_BODIES["digits"], title)["annotations"]["horizontal"][0]["value"]
        for title in ("Errors", "Latency", "Throttled", "Saturation")
    }
    assert drawn == {"Errors": 1, "Latency": 500, "Throttled": 5, "Saturation": 85}


def test_versions_are_told_apart() -> None:
    body = _BODIES["digits"]
    assert _labels(_widget(body, "Traffic")) == ["all", "1 served", "2.0 served"]
    assert _labels(_widget(body, "Copies")) == ["1 ready", "2.0 ready", "1 wanted", "2.0 wanted"]
    assert _labels(_widget(body, "Saturation")) == [
        "1 cpu %", "2.0 cpu %", "1 queue %", "2.0 queue %",
    ]  # fmt: skip
    assert _labels(_widget(_BODIES["texts"], "Saturation")) == ["1 gpu %"]


def test_a_metric_is_written_as_cloudwatch_reads_it() -> None:
    rows = _widget(_BODIES["stack"], "Latency")["metrics"]
    assert rows[1] == [
        "AWS/ApiGateway", "Latency", "ApiName", "berth-prod", "Stage", "v2",
        {"label": "p99", "stat": "p99"},
    ]  # fmt: skip
