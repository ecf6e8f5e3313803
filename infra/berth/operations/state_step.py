"""One thing that the state's backend consists of, and what was done about it."""

from dataclasses import dataclass
from typing import Literal

Did = Literal["made", "changed", "found"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """What was done about `what`: it was made, was there and has been changed, or was found as it
    shall be."""

    what: str
    did: Did
