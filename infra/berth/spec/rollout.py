"""How `berth rollout` goes from one version to the next."""

from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from berth.spec.errors import Problem, refusal
from berth.spec.section import Section


class RolloutSpec(Section):
    """Steps, and what makes a rollout go back by itself."""

    steps: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        default=[5, 25, 100], min_length=1, max_length=20
    )
    """Percent of the traffic that the new version gets, step by step; rising, the last is 100."""
    watch_seconds: int = Field(default=120, ge=5, le=86_400)
    """Seconds that each step is watched."""
    min_requests: int = Field(default=100, ge=1, le=1_000_000)
    """Requests of the new version below which a step says nothing, and goes on being watched."""
    max_error_percent: float = Field(default=1.0, ge=0, le=100)
    """Percentage points by which the new version's errors may exceed the old one's."""
    max_latency_ratio: float = Field(default=1.5, ge=1, le=100)
    """How many times the old version's 99th percentile the new one's may be."""

    @model_validator(mode="after")
    def _rising(self) -> "RolloutSpec":
        if any(low >= high for low, high in pairwise(self.steps)) or self.steps[-1] != 100:
            raise refusal(
                Problem(("steps",), "does not rise to 100; each above the former, 100 last")
            )
        return self
