"""What a preview found, from the events that the engine writes of it."""

import json
from collections.abc import Iterable
from typing import Any

STREAMED = {"PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true"}
"""Has `pulumi preview --json` write an event a line. The one document that it writes otherwise has
neither what a policy pack said nor what went wrong."""


def found(lines: Iterable[str]) -> dict[str, Any]:
    """The count of each operation; the operation on each resource that does not stay the same; what
    the security baseline said; and errors.

    Args:
        lines: an event each.
    """
    changes: dict[str, int] = {}
    steps: list[dict[str, str]] = []
    policies: list[dict[str, str]] = []
    errors: list[str] = []
    for line in lines:
        match json.loads(line):
            case {"resourcePreEvent": {"metadata": {"op": op, "urn": urn}}} if op != "same":
                steps.append({"operation": op, "urn": urn})
            case {"summaryEvent": {"resourceChanges": dict(counted)}}:
                changes = counted
            case {"policyEvent": {"enforcementLevel": level, "message": message, **more}}:
                said = {"level": level, "message": message.strip()}
                policies.append(said | {"urn": str(more.get("resourceUrn", ""))})
            case {"diagnosticEvent": {"severity": "error", "message": message}}:
                errors.append(message.strip())
    return {"changes": changes, "steps": steps, "policies": policies, "errors": errors}
