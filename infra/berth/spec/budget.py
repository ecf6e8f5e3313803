"""What an aws stack may cost."""

from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from berth.spec.errors import Problem, refusal
from berth.spec.section import Section
from berth.spec.text import Email


class BudgetSpec(Section):
    """A monthly budget, and who is told when it is used up."""

    monthly_usd: float = Field(gt=0, le=100_000_000)
    """US dollars per calendar month for everything that carries the stack's tags."""
    alert_percents: list[Annotated[int, Field(ge=1, le=1000)]] = Field(
        default=[50, 80, 100], min_length=1, max_length=5
    )
    """Percents of the budget at which a message goes out, rising."""
    notify: list[Email] = Field(min_length=1, max_length=10)
    """Addresses that are told."""

    @model_validator(mode="after")
    def _rising(self) -> "BudgetSpec":
        if any(low >= high for low, high in pairwise(self.alert_percents)):
            raise refusal(
                Problem(("alert_percents",), "does not rise; each must be above the former")
            )
        return self
