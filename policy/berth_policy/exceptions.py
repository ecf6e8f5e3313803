"""Exceptions: one rule that one resource may break, until a day, for a reason."""

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from berth_policy.rule import Rule, Violation


class ExceptionsError(ValueError):
    """Exceptions that cannot be followed; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """An exception of the stack's configuration.

    Attributes:
        rule: id of the rule.
        resource: logical name of the resource.
        reason: why.
        expires: the last day (UTC) on which it holds.
    """

    rule: str
    resource: str
    reason: str
    expires: datetime.date

    def covers(self, violation: Violation, today: datetime.date) -> bool:
        """Whether it accepts that violation."""
        return (
            (self.rule, self.resource) == (violation.rule.id, violation.resource.name)
            and today <= self.expires
        )  # fmt: skip


def accepted(config: Mapping[str, str], rules: Iterable[Rule]) -> list[Accepted]:
    """The exceptions in `berth:policy` of a stack's configuration.

    Raises:
        ExceptionsError: one names a rule that there is not.
    """
    said = json.loads(config.get("berth:policy", "{}"))
    found = [
        Accepted(
            rule=entry["rule"],
            resource=entry["resource"],
            reason=entry["reason"],
            expires=datetime.date.fromisoformat(entry["expires"]),
        )
        for entry in said.get("exceptions", ())
    ]
    ids = sorted(rule.id for rule in rules)
    for number, exception in enumerate(found):
        if exception.rule not in ids:
            raise ExceptionsError(
                f"berth:policy.exceptions[{number}].rule: {exception.rule} is no rule; the rules "
                f"are {', '.join(ids)}"
            )
    return found


def in_force(
    found: Iterable[Violation], exceptions: Iterable[Accepted], today: datetime.date
) -> Iterator[Violation]:
    """The violations that nothing accepts."""
    exceptions = list(exceptions)
    return (
        violation
        for violation in found
        if not any(exception.covers(violation, today) for exception in exceptions)
    )


def told(
    found: Iterable[Violation], exceptions: Iterable[Accepted], today: datetime.date
) -> Iterator[tuple[str, str]]:
    """What to say of exceptions: the URN of the resource, or nothing, and a sentence."""
    found = list(found)
    for exception in exceptions:
        name = f"exception of {exception.rule} for {exception.resource}"
        day = exception.expires.isoformat()
        about = [
            one.resource.urn
            for one in found
            if (one.rule.id, one.resource.name) == (exception.rule, exception.resource)
        ]
        if not about:
            yield "", f"{name}: nothing breaks that rule; take it out"
        elif today > exception.expires:
            yield about[0], f"{name}: ended with {day}; the rule is in force again"
        else:
            yield about[0], f"{name}: accepted until {day}: {exception.reason}"
