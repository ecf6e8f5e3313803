"""Accepted exceptions from the security baseline."""

import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from berth.spec.errors import Problem, refusal
from berth.spec.section import Section
from berth.spec.text import Reason, Text


def _is_date(value: str) -> str:
    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        raise refusal(Problem((), "is no day of the calendar; year-month-day")) from None
    return value


Day = Annotated[
    str,
    Text(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", 'a day in quotes, such as "2027-03-31"'),
    AfterValidator(_is_date),
]


class ExceptionSpec(Section):
    """One rule that one resource may break, for a time."""

    rule: Annotated[
        str, Text(r"[a-z][a-z0-9-]{1,98}[a-z0-9]", "the id of a rule, such as s3-no-public-access")
    ]
    """The id of the rule, as the policy pack prints it."""
    resource: Annotated[str, Field(min_length=1, max_length=500)]
    """The logical name of the resource."""
    reason: Reason
    """Why it is accepted."""
    expires: Day
    """The last day on which it is accepted; the rule is in force again on the next."""


class PolicySpec(Section):
    """How the security baseline is applied."""

    exceptions: list[ExceptionSpec] = Field(default=[], max_length=100)
    """What is accepted for now."""
