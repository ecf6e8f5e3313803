"""Exceptions: a rule that one resource may break until a date, with a reason."""

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from berth_policy.rule import Rule, Violation


class ExceptionsError(ValueError):
    """Invalid exceptions in the configuration."""


@dataclass(frozen=True, kw_only=True)
class PolicyException:
    """An exception in the stack's configuration.

    Attributes:
        rule: ID of the rule.
        resource: Logical name of the resource.
        reason: Reason for the exception.
        expires: Last day of the exception (UTC).
    """

    rule: str
    resource: str
    reason: str
    expires: datetime.date

    def matches(self, violation: Violation) -> bool:
        """Return whether the exception names the violation's rule and resource."""
        return (self.rule, self.resource) == (violation.rule.id, violation.resource.name)

    def accepts(self, violation: Violation, today: datetime.date) -> bool:
        """Return whether the exception applies to the violation today."""
        return self.matches(violation) and today <= self.expires


def read_exceptions(config: Mapping[str, str], rules: Iterable[Rule]) -> list[PolicyException]:
    """Read the exceptions from `berth:policy` in a stack's configuration.

    Raises:
        ExceptionsError: If an exception names an unknown rule.
    """
    section = json.loads(config.get("berth:policy", "{}"))
    exceptions = [
        PolicyException(
            rule=entry["rule"],
            resource=entry["resource"],
            reason=entry["reason"],
            expires=datetime.date.fromisoformat(entry["expires"]),
        )
        for entry in section.get("exceptions", ())
    ]
    ids = sorted(rule.id for rule in rules)
    for number, exception in enumerate(exceptions):
        if exception.rule not in ids:
            raise ExceptionsError(
                f"berth:policy.exceptions[{number}].rule: '{exception.rule}' is not a rule; "
                f"known rules: {', '.join(ids)}"
            )
    return exceptions


def reject_accepted(
    violations: Iterable[Violation], exceptions: Iterable[PolicyException], today: datetime.date
) -> Iterator[Violation]:
    """Return the violations that no exception accepts."""
    exceptions = list(exceptions)
    return (
        violation
        for violation in violations
        if not any(exception.accepts(violation, today) for exception in exceptions)
    )


def report_exceptions(
    violations: Iterable[Violation], exceptions: Iterable[PolicyException], today: datetime.date
) -> Iterator[tuple[str, str]]:
    """Return a message about each exception, with the URN of its resource or an empty string."""
    violations = list(violations)
    for exception in exceptions:
        subject = f"Exception from {exception.rule} for {exception.resource}"
        last_day = exception.expires.isoformat()
        urns = [one.resource.urn for one in violations if exception.matches(one)]
        if not urns:
            yield "", f"{subject} is not needed: the resource does not break the rule. Remove it."
        elif today > exception.expires:
            yield urns[0], f"{subject} expired after {last_day}; the rule is active again"
        else:
            yield urns[0], f"{subject} applies until {last_day}: {exception.reason}"
