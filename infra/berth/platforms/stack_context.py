"""Place: which stack of which project is looked at, and what of it is left out."""

from dataclasses import dataclass
from pathlib import Path

from berth.spec import HostingSpec


@dataclass(frozen=True, kw_only=True)
class Place:
    """A stack as an operation looks at it: its project's folder, its name, what it shall be."""

    root: Path
    stack: str
    spec: HostingSpec


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A part of a stack that an update leaves as it is, since it cannot be reached.

    Attributes:
        name: of the part, such as an edge site.
        why: what is wrong, where, and what would be right.
        urns: a pattern of the URNs of all that it has in the stack.
    """

    name: str
    why: str
    urns: str
