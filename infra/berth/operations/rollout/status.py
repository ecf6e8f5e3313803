"""The latest rollout of each model, for commands that show or change a stack."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from berth.errors import OperationError
from berth.operations.rollout.controller import describe_step
from berth.operations.rollout.journal import (
    Journal,
    Phase,
    is_held,
    journal_directory,
    read_journal,
)


@dataclass(frozen=True, kw_only=True)
class RolloutStatus:
    """The latest rollout of a model.

    Attributes:
        model: The model.
        stable: The version from which it moves the traffic.
        version: The version to which it moves the traffic.
        phase: What it does, or how it ended.
        is_in_progress: Whether it has changed the stack and has not ended.
        is_interrupted: Whether it has not ended, and no process runs it.
        step: What the version receives in the current step.
        step_number: The number of the current step. The first step has number 1.
        steps: How many steps there are.
        traffic: Percentage of each version in the current step, or after the reversal.
        since: When the phase began, in seconds since 1970. None if it is not known.
        reason: Why it is or was reverted.
        event: What happened last.
        event_at: When, in seconds since 1970.
        resume: The command that continues it. None unless it was interrupted.
        abort: The command that reverts it, likewise.
    """

    model: str
    stable: str
    version: str
    phase: str
    is_in_progress: bool
    is_interrupted: bool
    step: str
    step_number: int
    steps: int
    traffic: dict[str, int]
    since: float | None
    reason: str | None
    event: str | None
    event_at: float | None
    resume: str | None
    abort: str | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is left to do."""
        return Phase(self.phase).has_ended


def list_rollouts(root: Path, stack: str) -> tuple[list[RolloutStatus], list[str]]:
    """Return the latest rollout of each model, and which records cannot be read, one line each."""
    rollouts: list[RolloutStatus] = []
    problems: list[str] = []
    for path in sorted(journal_directory(root, stack).glob("*.json")):
        try:
            journal, is_running = _read(path)
        except OperationError as error:
            problems.append(str(error))
            continue
        if journal is not None:
            rollouts.append(summarize_rollout(journal, stack, is_running=is_running))
    return rollouts, problems


def _read(path: Path) -> tuple[Journal | None, bool]:
    """Return the record, and whether a process runs the rollout."""
    journal = read_journal(path)
    if journal is None or journal.phase.has_ended or is_held(path):
        return journal, True
    # The process may have ended the rollout, and then itself, since the record was read.
    return read_journal(path), False


def summarize_rollout(journal: Journal, stack: str, *, is_running: bool) -> RolloutStatus:
    """Return the status of a rollout.

    Args:
        is_running: Whether a process runs it. One that has ended needs none.
    """
    plan, phase = journal.plan, journal.phase
    last = journal.events[-1] if journal.events else {}
    is_interrupted = not is_running and not phase.has_ended
    command = format_command(stack, plan.model, plan.version)
    if phase in (Phase.REVERTING, Phase.REVERTED):
        traffic = {plan.stable: 100, plan.version: 0}
    elif phase in (Phase.STARTING, Phase.CANCELED):
        traffic = plan.traffic_of(plan.initial)
    else:
        traffic = plan.traffic_of(plan.steps[journal.step])
    return RolloutStatus(
        model=plan.model,
        stable=plan.stable,
        version=plan.version,
        phase=str(phase),
        is_in_progress=phase.is_in_progress,
        is_interrupted=is_interrupted,
        step=describe_step(plan, plan.steps[journal.step]),
        step_number=journal.step + 1,
        steps=len(plan.steps),
        traffic=traffic,
        since=journal.since,
        reason=journal.reason,
        event=last.get("text"),
        event_at=last.get("at"),
        resume=f"{command} --resume" if is_interrupted else None,
        abort=f"{command} --abort" if is_interrupted else None,
    )


def format_command(stack: str, model: str, version: str, *, program: str = "berth") -> str:
    """Return the command of a rollout without its settings."""
    option = "" if stack == "local" else f" -s {stack}"
    return f"{program} rollout {model} {version}{option}"


def describe_rollout(rollout: RolloutStatus) -> str:
    """Return what a rollout does, or how it ended, in one line."""
    head = f"{rollout.model} {rollout.stable} → {rollout.version}:"
    if rollout.is_interrupted:
        return f"{head} interrupted while {rollout.phase}"
    if rollout.phase == Phase.REVERTING:
        return f"{head} {rollout.phase}, all traffic returns to version {rollout.stable}"
    if rollout.is_in_progress:
        return f"{head} {rollout.phase}, {rollout.step}"
    return f"{head} {rollout.phase}"


def describe_record(rollout: RolloutStatus) -> str:
    """Return what is recorded of the phase, and since when it lasts."""
    if rollout.phase == Phase.STARTING:
        text = "before the first step, so nothing was changed"
    elif rollout.phase == Phase.REVERTING:
        text = f"all traffic returns to version {rollout.stable}"
    else:
        text = f"step {rollout.step_number} of {rollout.steps}, {rollout.step}"
    if rollout.since is None:
        return text
    at = datetime.fromtimestamp(rollout.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{text}, since {at}"


def describe_interruption(rollout: RolloutStatus) -> str:
    """Return what was interrupted, what is recorded, and what to do, as sentences."""
    end = "revert it with" if rollout.is_in_progress else "end it with"
    return (
        f"The rollout of {rollout.model} from version {rollout.stable} to version "
        f"{rollout.version} was interrupted while {rollout.phase}. "
        f"Its record: {describe_record(rollout)}. No process runs it. "
        f"Continue it with '{rollout.resume}', or {end} '{rollout.abort}'."
    )


def describe_unfinished(rollouts: Sequence[RolloutStatus]) -> list[str]:
    """Return a line for each rollout that has not ended."""
    return [
        describe_interruption(each)
        if each.is_interrupted
        else f"A process runs the rollout of {describe_rollout(each)}."
        for each in rollouts
        if not each.has_ended
    ]
