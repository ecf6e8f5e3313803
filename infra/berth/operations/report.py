"""What a pull request would change in a stack: one report for people, CI and `--fail-on`."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from berth.operations import cost_changes, prediction_diff
from berth.operations.cost_changes import CostReport
from berth.operations.history import Change
from berth.operations.prediction_diff import PredictionDiff
from berth.operations.resource_changes import Operation, ResourceChange
from berth.operations.traffic_changes import TrafficChange
from berth.operations.undo import UndoFacts, Verdict, find_worst
from berth.platforms.kept_data import KeptData

_PAST = {
    Operation.CREATE: "created",
    Operation.UPDATE: "updated",
    Operation.REPLACE: "replaced",
    Operation.DELETE: "deleted",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an update would change, and whether it can be undone.

    Attributes:
        stack: Name of the stack.
        summary: Operation counts, steps, policy violations and errors of the preview.
        changes: The changed resources.
        verdicts: Whether a rollback restores a change, by URN.
        facts: What the verdicts are based on.
        configuration: Values of the configuration that differ from what is deployed.
        traffic: Versions of the models whose traffic changes.
        predictions: How the predictions of versions that receive more traffic differ.
        drift: What differs from the last update, one line each.
        cost: Monthly cost, if the platform has prices.
        parity: The comparison with `parity.stack`, if the stack has one.
    """

    stack: str
    summary: Mapping[str, Any]
    changes: tuple[ResourceChange, ...]
    verdicts: Mapping[str, Verdict]
    facts: UndoFacts
    configuration: tuple[Change, ...]
    traffic: tuple[TrafficChange, ...]
    drift: tuple[str, ...]
    cost: CostReport | None
    parity: Mapping[str, Any] | None = None
    predictions: tuple[PredictionDiff, ...] = ()

    @property
    def worst(self) -> Verdict:
        """The verdict on the update as a whole."""
        return find_worst(self.verdicts.values())

    @property
    def stateful(self) -> tuple[ResourceChange, ...]:
        """The resources that keep data and that are replaced or deleted."""
        return tuple(change for change in self.changes if self.get_lost_data(change) is not None)

    def get_lost_data(self, change: ResourceChange) -> KeptData | None:
        """Return what is lost with a resource that is replaced or deleted, or None."""
        if change.operation not in (Operation.REPLACE, Operation.DELETE):
            return None
        return self.facts.kept_data.get(change.type)

    def format_counts(self) -> str:
        """Return how many resources are created, updated, replaced and deleted."""
        counts = Counter(change.operation for change in self.changes)
        parts = [f"{counts[each]} {_PAST[each]}" for each in Operation if counts[each]]
        return ", ".join(parts) or "no changes"


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as a JSON document."""
    document: dict[str, Any] = {
        **report.summary,
        "stack": report.stack,
        "resources": [
            {
                **asdict(change),
                "keeps_data": report.get_lost_data(change) is not None,
                "undo": asdict(report.verdicts[change.urn]),
            }
            for change in report.changes
        ],
        "undo": {
            **asdict(report.worst),
            "release": report.facts.release,
            "obstacles": list(report.facts.obstacles),
            "kept": [*report.facts.kept_clients, *report.facts.kept_signatures],
        },
        "configuration": [asdict(change) for change in report.configuration],
        "traffic": [asdict(change) for change in report.traffic],
        "predictions": prediction_diff.as_json(report.predictions),
        "drift": list(report.drift),
        "cost": cost_changes.as_json(report.cost),
    }
    return document | ({"parity": report.parity} if report.parity else {})
