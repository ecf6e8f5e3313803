"""What machines are told of a preview."""

import json
from typing import Any

from berth.operations.preview_events import found


def _told(*events: dict[str, Any]) -> dict[str, Any]:
    return found(json.dumps({"sequence": number, **event}) for number, event in enumerate(events))


def _step(operation: str, urn: str) -> dict[str, Any]:
    return {"resourcePreEvent": {"metadata": {"op": operation, "urn": urn, "type": "t"}}}


def test_what_stays_the_same_is_counted_alone() -> None:
    told = _told(
        {"preludeEvent": {"config": {}}},
        _step("same", "a"),
        _step("update", "b"),
        {"summaryEvent": {"resourceChanges": {"same": 1, "update": 1}}},
    )
    assert told["changes"] == {"same": 1, "update": 1}
    assert told["steps"] == [{"operation": "update", "urn": "b"}]


def test_what_the_baseline_said_is_told() -> None:
    said = {"policyName": "baseline", "enforcementLevel": "mandatory", "message": "kms-rotates\n"}
    told = _told({"policyEvent": {**said, "resourceUrn": "u"}}, {"policyEvent": said})
    assert told["policies"] == [
        {"level": "mandatory", "message": "kms-rotates", "urn": "u"},
        {"level": "mandatory", "message": "kms-rotates", "urn": ""},
    ]


def test_errors_are_told_and_warnings_are_not() -> None:
    told = _told(
        {"diagnosticEvent": {"severity": "warning", "message": "w"}},
        {"diagnosticEvent": {"severity": "error", "message": "preview failed\n"}},
    )
    assert told["errors"] == ["preview failed"]
