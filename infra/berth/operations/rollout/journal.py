"""The record of a rollout on disk, with which another process can continue or end it."""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from berth.engine.environment import project_data_directory
from berth.errors import OperationError
from berth.operations.rollout.plan import Plan
from berth.operations.rollout.query import restore_queries
from pulumi_berth.files import replace_atomically

# Another process holds the lock file for a moment to find out whether the rollout runs.
_HOLD_SECONDS = 1.0
# Enough for plots. Beyond it, every second sample is dropped.
_MAX_SAMPLES = 2000
_FORMAT = 1


class Phase(StrEnum):
    """What a rollout does, or how it ended."""

    STARTING = "starting"
    DEPLOYING = "deploying"
    WATCHING = "watching"
    REVERTING = "reverting"
    PROMOTED = "promoted"
    REVERTED = "reverted"
    CANCELED = "canceled"
    """It ended before its first step."""

    @property
    def is_in_progress(self) -> bool:
        """Whether the rollout has changed the stack and has not ended."""
        return self in (Phase.DEPLOYING, Phase.WATCHING, Phase.REVERTING)

    @property
    def has_ended(self) -> bool:
        """Whether nothing of the rollout is left to do."""
        return self in (Phase.PROMOTED, Phase.REVERTED, Phase.CANCELED)


@dataclass(kw_only=True)
class Journal:
    """A rollout and how far it is. `save` writes it; each change is written before it is made.

    Attributes:
        path: The file.
        plan: What the rollout does.
        phase: What it does now. `enter` changes it.
        since: When the phase began, in seconds since 1970.
        step: Index of its step.
        slow_seconds: Duration from which a request is slow, in seconds, once it is known.
        reason: Why it is or was reverted.
        events: What happened, with the time in seconds since 1970.
        samples: Readings for plots, at most 2,000.
    """

    path: Path
    plan: Plan
    phase: Phase = Phase.STARTING
    since: float | None = None
    step: int = 0
    slow_seconds: float | None = None
    reason: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def enter(self, phase: Phase) -> None:
        """Change the phase. The next `save` writes it."""
        self.phase, self.since = phase, time.time()

    def add_event(self, text: str, at: float | None = None) -> None:
        """Record and write something that happened."""
        self.events.append({"at": time.time() if at is None else at, "text": text})
        self.save()

    def add_sample(self, sample: dict[str, Any]) -> None:
        """Record a reading. The next `save` writes it."""
        self.samples.append(sample)
        if len(self.samples) > _MAX_SAMPLES:
            del self.samples[::2]

    def save(self) -> None:
        """Write the journal so that a reader sees either the old or the new one."""
        document = {key: value for key, value in asdict(self).items() if key != "path"}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_atomically(self.path, json.dumps({"format": _FORMAT, **document}))


def journal_directory(root: Path, stack: str) -> Path:
    """Return the directory of the latest rollouts of a stack, which may not exist."""
    return root / ".berth" / "rollouts" / stack


def journal_path(root: Path, stack: str, model: str) -> Path:
    """Return the file of the latest rollout of a model."""
    project_data_directory(root, "rollouts")
    return journal_directory(root, stack) / f"{model}.json"


def read_journal(path: Path) -> Journal | None:
    """Return the journal in a file, or None if there is none.

    Raises:
        OperationError: If the file cannot be read.
    """
    try:
        document = json.loads(path.read_text())
        if document.pop("format") != _FORMAT:
            raise ValueError("another format")
        plan = document.pop("plan")
        plan["steps"] = tuple(plan["steps"])
        plan["queries"] = restore_queries(plan.get("queries", ()))
        phase = Phase(document.pop("phase"))
        return Journal(path=path, plan=Plan(**plan), phase=phase, **document)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise OperationError(
            f"Cannot read the record of the rollout, {path}: {error}. If no rollout is in "
            "progress, delete the file."
        ) from error


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the right to run the rollout. The system ends it with the process.

    Raises:
        OperationError: If another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _HOLD_SECONDS
    with _lock_path(path).open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= deadline:
                    raise OperationError(
                        "Another process runs this rollout. End it with Ctrl-C, or wait for it."
                    ) from None
                time.sleep(0.05)
        yield


def is_held(path: Path) -> bool:
    """Return whether a process runs the rollout."""
    try:
        with _lock_path(path).open() as file:
            # Several readers can have a shared lock at once. It ends with the file.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _lock_path(path: Path) -> Path:
    return path.with_suffix(".lock")
