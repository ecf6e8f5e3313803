"""The result of a check before an update."""

from dataclasses import dataclass
from enum import StrEnum


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
