"""Rollouts that have not ended, for commands that show or change a stack."""

from pathlib import Path

from berth.cli.options import say
from berth.errors import OperationError


def report_unfinished_rollouts(root: Path, name: str, consequence: str = "") -> None:
    """Report each rollout that has not ended, and each record that cannot be read.

    Args:
        consequence: What the command means for them, as a sentence.
    """
    from berth.operations.rollout.status import describe_unfinished, list_rollouts

    rollouts, problems = list_rollouts(root, name)
    lines = describe_unfinished(rollouts)
    for line in [*lines, *([consequence] if lines and consequence else []), *problems]:
        say(line)


def require_no_running_rollout(root: Path, name: str) -> None:
    """Raise OperationError if a process runs a rollout, which would undo the caller's change."""
    from berth.operations.rollout.status import list_rollouts

    for each in list_rollouts(root, name)[0]:
        if not each.has_ended and not each.is_interrupted:
            raise OperationError(
                f"A process runs the rollout of {each.model} to version {each.version}. It would "
                "change the stack again, so nothing was changed. End that process with Ctrl-C, "
                "then run the same command."
            )
