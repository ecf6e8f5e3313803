"""The stack that a command works on, and the parts of it that a command skips."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from berth.spec import HostingSpec

_SKIPPED_VARIABLE = "BERTH_SKIPPED_PARTS"


@dataclass(frozen=True, kw_only=True)
class StackContext:
    """One stack of a project.

    Attributes:
        root: The project's directory.
        stack: The stack's name.
        spec: The stack's specification.
    """

    root: Path
    stack: str
    spec: HostingSpec


@dataclass(frozen=True, kw_only=True)
class SkippedPart:
    """A part of a stack that an operation leaves unchanged because it is not reachable.

    Attributes:
        name: The part's name, such as `site plant-7`.
        reason: What is wrong, where, and what to do.
        urns: A pattern that matches the URNs of all its resources.
        key: Its name in the specification.
        has_dependents: Whether other resources that use its resources stay unchanged too. If not,
            the program declares them so that they need nothing new of the part.
    """

    name: str
    reason: str
    urns: str
    key: str
    has_dependents: bool = True


@dataclass(frozen=True, kw_only=True)
class LostPart(SkippedPart):
    """An unreachable part that the specification no longer has, so that nothing can delete it.

    Attributes:
        resources: URNs of its resources in the state.
        remains: What exists there, and how to delete it later.
    """

    resources: frozenset[str]
    remains: str


def pass_skipped_parts(parts: Iterable[SkippedPart]) -> dict[str, str]:
    """Return the environment variable that names the skipped parts to the program."""
    return {_SKIPPED_VARIABLE: " ".join(part.key for part in parts)}


def read_skipped_parts() -> frozenset[str]:
    """Return the keys of the parts that the running program's update skips."""
    return frozenset(os.environ.get(_SKIPPED_VARIABLE, "").split())
