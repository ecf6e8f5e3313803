"""What must be true before an update, and the result of a check of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from berth.platforms.stack_context import StackContext


class Status(StrEnum):
    """The result of one check.

    `failed` stops an update. `not-checked` means that the target did not say: it is no success.
    """

    PASSED = "passed"
    FAILED = "failed"
    WARNING = "warning"
    NOT_CHECKED = "not-checked"
    OPTIONAL = "optional"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        check: Name of the check, such as `quotas`.
        status: The result.
        detail: What was found, one sentence.
        fix: What to do, one sentence. Empty if there is nothing to do.
    """

    check: str
    status: Status
    detail: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A condition without which no update, preview or rollback starts.

    `berth preflight` checks the same conditions, so it never says that an update can start which
    one of them stops.

    Attributes:
        name: Name of its check in `berth preflight`.
        check: Returns what it found. Raises SpecError or OperationError if the condition is not
            met: the message states what to do.
        stops_checks: Whether nothing else can be checked if the condition is not met.
    """

    name: str
    check: Callable[[StackContext], Finding]
    stops_checks: bool = False
