"""How `berth watch` and `berth dashboard` read what Berth knows of a stack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.cli import stacks
from berth.operations.state_file import RecordedState
from berth.operations.update import Update
from berth.platforms import get_platform
from berth.platforms.stack_context import StackContext


@dataclass(frozen=True, kw_only=True)
class WatchedStack:
    """The stack `name` of the project in `root`. See `berth.operations.watch.watcher.Source`."""

    root: Path
    name: str

    def open_context(self) -> tuple[StackContext, list[str]]:
        """Return the stack, and what is wrong with its configuration file, one line each."""
        notes: list[str] = []
        spec = stacks.load_current_or_recorded_spec(self.root, self.name, report=notes.append)
        return StackContext(root=self.root, stack=self.name, spec=spec), notes

    def read_state(self) -> RecordedState:
        """Return the outputs without secrets, and the latest update."""
        return stacks.read_recorded_state(self.root, self.name)

    def read_history(self) -> Sequence[Update]:
        """Return all updates with secrets hidden, oldest first."""
        return stacks.open_stack(self.root, self.name).history()

    def read_resources(self, context: StackContext) -> Sequence[Mapping[str, Any]]:
        """Return the resources in the stack's state, with secrets hidden."""
        return stacks.read_stack_resources(context)

    def estimate_cost(self, context: StackContext) -> float | None:
        """Return US dollars per month, or None if the stack costs nothing by itself."""
        from berth.operations.cost_changes import estimate_file

        if get_platform(context.spec.platform).estimate_cost is None:
            return None
        lines = estimate_file(self.root / f"Pulumi.{self.name}.yaml")
        return None if lines is None else round(sum(line.usd for line in lines), 2)
