"""The stack that a command works on, and the parts of it that a command skips."""

from dataclasses import dataclass
from pathlib import Path

from berth.spec import HostingSpec


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
    """

    name: str
    reason: str
    urns: str
