"""Place: which stack of which project is looked at."""

from dataclasses import dataclass
from pathlib import Path

from infra.spec import HostingSpec


@dataclass(frozen=True, kw_only=True)
class Place:
    """A stack as an operation looks at it: its project's folder, its name, what it shall be."""

    root: Path
    stack: str
    spec: HostingSpec
