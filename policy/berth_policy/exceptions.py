"""Exceptions: a rule that one resource may break until a date, with a reason."""

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from berth_policy.rule import Rule, Violation

LONGEST_EXCEPTION = datetime.timedelta(days=365)
"""An exception ends within a year, so that somebody decides again."""


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


def read_exceptions(
    config: Mapping[str, str], rules: Iterable[Rule], today: datetime.date
) -> list[PolicyException]:
    """Read the exceptions from `berth:policy` in a stack's configuration.

    Raises:
        ExceptionsError: If an exception is incomplete, names an unknown rule or a rule without
            exceptions, has no day on which it expires, or expires more than a year after `today`.
    """
    by_id = {rule.id: rule for rule in rules}
    section = json.loads(config.get("berth:policy", "{}"))
    return [
        _read_exception(f"berth:policy.exceptions[{number}]", entry, by_id, today)
        for number, entry in enumerate(section.get("exceptions") or ())
    ]


def _read_exception(
    path: str, entry: Mapping[str, Any], rules: Mapping[str, Rule], today: datetime.date
) -> PolicyException:
    for key in ("rule", "resource", "reason", "expires"):
        value = entry.get(key)
        if not isinstance(value, str) or not value.strip():
            raise ExceptionsError(f"{path}.{key}: is missing; specify it as text")
    rule = rules.get(entry["rule"])
    if rule is None:
        raise ExceptionsError(
            f"{path}.rule: '{entry['rule']}' is not a rule; known rules: {', '.join(sorted(rules))}"
        )
    if not rule.allows_exceptions:
        raise ExceptionsError(f"{path}.rule: '{rule.id}' has no exceptions. {rule.remedy}")
    try:
        expires = datetime.date.fromisoformat(entry["expires"])
    except ValueError:
        raise ExceptionsError(
            f"{path}.expires: '{entry['expires']}' is not a calendar date; use YYYY-MM-DD"
        ) from None
    if expires > today + LONGEST_EXCEPTION:
        latest = (today + LONGEST_EXCEPTION).isoformat()
        raise ExceptionsError(
            f"{path}.expires: {expires.isoformat()} is more than a year away; use a date until "
            f"{latest}, and decide again then"
        )
    return PolicyException(
        rule=rule.id, resource=entry["resource"], reason=entry["reason"], expires=expires
    )


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
