"""`berth preview --fail-on`: what in a report must not pass."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from berth.operations.report import Report
from berth.operations.resource_changes import Operation, ResourceChange
from berth.operations.undo import IRREVERSIBLE
from pulumi_berth.values import join_first

_COST = re.compile(r"cost\+(\d{1,4}(?:\.\d{1,3})?)%")
_NAMED = 5


class FailOn(StrEnum):
    """A kind of change that must not pass."""

    REPLACE = "replace"
    DELETE = "delete"
    IRREVERSIBLE = "irreversible"


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What must not pass.

    Attributes:
        kinds: The kinds of changes.
        cost_percent: Increase of the monthly cost in percent that still passes. None for any.
    """

    kinds: frozenset[FailOn] = frozenset()
    cost_percent: float | None = None


class FailOnError(ValueError):
    """A condition that is not known."""


def parse_conditions(text: str) -> Conditions:
    """Return the conditions in a list that commas separate, such as `replace,cost+20%`.

    Raises:
        FailOnError: If one of them is not known.
    """
    kinds: set[FailOn] = set()
    cost_percent: float | None = None
    for part in (part.strip() for part in text.split(",")):
        if match := _COST.fullmatch(part):
            percent = float(match[1])
            cost_percent = percent if cost_percent is None else min(cost_percent, percent)
        elif part in list(FailOn):
            kinds.add(FailOn(part))
        else:
            known = ", ".join([*FailOn, "cost+N%"])
            raise FailOnError(
                f"'{part}' is not a condition. Use one or more of {known}, separated by commas, "
                "such as replace,irreversible,cost+20%."
            )
    return Conditions(kinds=frozenset(kinds), cost_percent=cost_percent)


def find_matches(report: Report, conditions: Conditions) -> list[str]:
    """Return one line for each condition that the report meets."""
    lines = []
    for kind in FailOn:
        changes = [change for change in report.changes if _meets(report, change, kind)]
        if kind in conditions.kinds and changes:
            names = join_first([f"'{change}'" for change in changes], _NAMED)
            reason = f": {report.worst}" if kind is FailOn.IRREVERSIBLE else ""
            lines.append(f"--fail-on {kind.value}: {names}{reason}")
    if conditions.cost_percent is not None:
        lines += _judge_cost(report, conditions.cost_percent)
    return lines


def _meets(report: Report, change: ResourceChange, kind: FailOn) -> bool:
    match kind:
        case FailOn.REPLACE:
            return change.operation is Operation.REPLACE
        case FailOn.DELETE:
            return change.operation is Operation.DELETE
        case FailOn.IRREVERSIBLE:
            return report.verdicts[change.urn].undo in IRREVERSIBLE


def _judge_cost(report: Report, percent: float) -> Iterator[str]:
    """Yield a line if the cost rises too much, or if nobody can know it."""
    cost = report.cost
    condition = f"--fail-on cost+{percent:g}%"
    if cost is None:  # The platform costs nothing by itself.
        return
    if cost.percent is None:
        yield f"{condition}: the cost is unknown: {cost.problem}"
    elif cost.percent > percent:
        yield (
            f"{condition}: the monthly cost rises from {cost.before:,.2f} to {cost.after:,.2f} "
            f"USD, by {cost.percent:.1f}%"
        )
