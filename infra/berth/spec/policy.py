"""Accepted exceptions from the security baseline."""

import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from berth.spec.errors import Problem, build_rule_error
from berth.spec.fields import Account, Reason, Section, Text


def _check_date(value: str) -> str:
    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        raise build_rule_error(Problem((), "is not a calendar date; use YYYY-MM-DD")) from None
    return value


Day = Annotated[
    str,
    Text(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", 'a date in quotes, such as "2027-03-31"'),
    AfterValidator(_check_date),
]


class ExceptionSpec(Section):
    """A rule that one resource may violate until a date."""

    rule: Annotated[
        str, Text(r"[a-z][a-z0-9-]{1,98}[a-z0-9]", "a rule ID, such as s3-no-public-access")
    ]
    """Rule ID, as the policy pack prints it."""
    resource: Annotated[str, Field(min_length=1, max_length=500)]
    """Logical name of the resource."""
    reason: Reason
    """Why the violation is accepted."""
    expires: Day
    """Last day on which the violation is accepted, at most a year from the day of the update. The
    rule applies again on the next day."""


class PolicySpec(Section):
    """Settings of the security baseline."""

    exceptions: list[ExceptionSpec] = Field(default=[], max_length=100)
    """Accepted exceptions."""
    require_policy: bool = False
    """If true, `up` and `preview` stop before they change anything if the rules cannot run. On
    local, they then also run."""
    trusted_accounts: list[Account] = Field(default=[], max_length=100)
    """aws: Other accounts whose principals may assume roles or use resources of this stack. Your
    own accounts are in `aws:allowedAccountIds`."""
