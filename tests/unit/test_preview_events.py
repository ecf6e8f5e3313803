"""The summary of a preview's events."""

import json
from typing import Any

from berth.operations.preview_events import summarize_events


def _summarize(*events: dict[str, Any]) -> dict[str, Any]:
    return summarize_events(
        json.dumps({"sequence": number, **event}) for number, event in enumerate(events)
    )


def _step(operation: str, urn: str) -> dict[str, Any]:
    return {"resourcePreEvent": {"metadata": {"op": operation, "urn": urn, "type": "t"}}}


def test_unchanged_resources_are_only_counted() -> None:
    summary = _summarize(
        {"preludeEvent": {"config": {}}},
        _step("same", "a"),
        _step("update", "b"),
        {"summaryEvent": {"resourceChanges": {"same": 1, "update": 1}}},
    )
    assert summary["changes"] == {"same": 1, "update": 1}
    assert summary["steps"] == [{"operation": "update", "urn": "b"}]


def test_policy_violations_are_listed() -> None:
    violation = {
        "policyName": "baseline",
        "enforcementLevel": "mandatory",
        "message": "kms-rotates\n",
    }
    summary = _summarize(
        {"policyEvent": {**violation, "resourceUrn": "u"}}, {"policyEvent": violation}
    )
    assert summary["policies"] == [
        {"level": "mandatory", "message": "kms-rotates", "urn": "u"},
        {"level": "mandatory", "message": "kms-rotates", "urn": ""},
    ]


def test_only_errors_are_listed() -> None:
    summary = _summarize(
        {"diagnosticEvent": {"severity": "warning", "message": "w"}},
        {"diagnosticEvent": {"severity": "error", "message": "preview failed\n"}},
    )
    assert summary["errors"] == ["preview failed"]
