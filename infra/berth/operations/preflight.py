"""`berth preflight`: what would stop an update, before the update starts."""

from collections.abc import Sequence
from typing import Any

from berth.platforms.preflight import Finding, Status

_WIDTH = max(len(status) for status in Status) + 1


def has_failed(findings: Sequence[Finding]) -> bool:
    """Return whether an update would fail."""
    return any(finding.status is Status.FAILED for finding in findings)


def select_notable(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that `up` reports: failures, warnings and optional settings."""
    notable = (Status.FAILED, Status.WARNING, Status.OPTIONAL)
    return [finding for finding in findings if finding.status in notable]


def as_json(stack: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as a JSON document."""
    return {
        "stack": stack,
        "passed": not has_failed(findings),
        "checks": [
            {
                "check": finding.check,
                "status": finding.status.value,
                "detail": finding.detail,
                "fix": finding.fix,
            }
            for finding in findings
        ],
    }


def format_lines(findings: Sequence[Finding]) -> str:
    """Return one line for each finding, failures last, so that they are next to the prompt."""
    order = [Status.PASSED, Status.OPTIONAL, Status.NOT_CHECKED, Status.WARNING, Status.FAILED]
    lines = []
    for finding in sorted(findings, key=lambda finding: order.index(finding.status)):
        fix = f" {finding.fix}" if finding.fix else ""
        lines.append(f"{finding.status.value:{_WIDTH}}{finding.check}: {finding.detail}{fix}")
    return "\n".join(lines)


def format_text(stack: str, findings: Sequence[Finding]) -> str:
    """Return the findings and the result as text."""
    count = sum(finding.status is Status.FAILED for finding in findings)
    unknown = sum(finding.status is Status.NOT_CHECKED for finding in findings)
    result = (
        f"{count} of {len(findings)} checks failed. Nothing was changed."
        if count
        else f"'berth up -s {stack}' can start."
    )
    missing = f" {unknown} could not be checked." if unknown else ""
    return f"{format_lines(findings)}\n\n{result}{missing}"
