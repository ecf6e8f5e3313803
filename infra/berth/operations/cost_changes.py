"""How the monthly cost of a stack changes, line by line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.operations.declarations import read_declarations
from berth.platforms import get_platform
from berth.platforms.cost_line import CostLine
from berth.spec import load_file


@dataclass(frozen=True, kw_only=True)
class CostChange:
    """The monthly cost of one item, in US dollars."""

    service: str
    item: str
    before: float
    after: float


@dataclass(frozen=True, kw_only=True)
class CostReport:
    """The monthly cost of a stack before and after an update.

    Attributes:
        before: US dollars per month of what is deployed. 0 if nothing is, None if unknown.
        after: US dollars per month after the update. None if unknown.
        lines: The items whose cost differs. Empty if one of the totals is unknown.
        problem: Why a total is unknown, or empty.
    """

    before: float | None
    after: float | None
    lines: tuple[CostChange, ...] = ()
    problem: str = ""

    @property
    def percent(self) -> float | None:
        """The increase in percent. None if it is unknown, infinite if something cost nothing."""
        if self.before is None or self.after is None:
            return None
        if self.before == 0:
            return float("inf") if self.after else 0.0
        return 100 * (self.after - self.before) / self.before


def estimate_file(path: Path) -> Sequence[CostLine] | None:
    """Return the lines of the estimate for a configuration file, or None if it costs nothing.

    The resources are those that the current program declares for that configuration.

    Raises:
        OperationError: If the platform has no prices, or the configuration cannot be declared.
        SpecError: If the file is not a valid specification.
    """
    spec = load_file(path)
    estimate = get_platform(spec.platform).estimate_cost
    return None if estimate is None else estimate(spec, read_declarations(str(path)))


def compare_costs(before: Sequence[CostLine], after: Sequence[CostLine]) -> CostReport:
    """Return both totals, and each item whose cost differs by a cent or more."""
    ones, others = _sum_items(before), _sum_items(after)
    lines = [
        CostChange(service=key[0], item=key[1], before=ones.get(key, 0), after=others.get(key, 0))
        for key in sorted({*ones, *others})
    ]
    return CostReport(
        before=round(sum(line.usd for line in before), 2),
        after=round(sum(line.usd for line in after), 2),
        lines=tuple(line for line in lines if line.before != line.after),
    )


def _sum_items(lines: Sequence[CostLine]) -> Mapping[tuple[str, str], float]:
    sums: dict[tuple[str, str], float] = {}
    for line in lines:
        key = (line.service, line.item)
        sums[key] = sums.get(key, 0.0) + line.usd
    return {key: round(value, 2) for key, value in sums.items()}


def as_json(report: CostReport | None) -> dict[str, Any] | None:
    """Return the costs as a JSON document, or None without costs."""
    if report is None:
        return None
    return {
        "usd_before": report.before,
        "usd_after": report.after,
        "problem": report.problem,
        "lines": [
            {"service": x.service, "item": x.item, "usd_before": x.before, "usd_after": x.after}
            for x in report.lines
        ],
    }
