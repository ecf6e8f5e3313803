"""A stack's budget, declared with mocks: the emulator does not have cost allocation tags."""

from typing import Any

import pulumi
from pulumi.runtime import mocks

from pulumi_berth.aws.budget import MonthlyBudget, MonthlyBudgetArgs


class _Engine(mocks.Mocks):
    """A mock engine that records resources."""

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, Any]] = {}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], None]:
        raise NotImplementedError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[Any, Any]]:
        self.resources[args.typ] = args.inputs
        return f"{args.name}-id", args.inputs


def _declared(*, activate_tag: bool) -> dict[str, dict[str, Any]]:
    engine = _Engine()
    mocks.set_mocks(engine, stack="prod")

    @pulumi.runtime.test  # type: ignore[untyped-decorator]  # Pulumi does not type it.
    def declare() -> pulumi.Output[Any]:
        args = MonthlyBudgetArgs(
            stack_name="prod",
            monthly_usd=24_000,
            alert_percents=[50, 100],
            emails=["ml@example.com"],
            activate_tag=activate_tag,
        )
        return MonthlyBudget("budget", args).budget

    declare()
    return engine.resources


def test_activate_tag_creates_cost_allocation_tag() -> None:
    tag = _declared(activate_tag=True)["aws:costexplorer/costAllocationTag:CostAllocationTag"]
    assert tag == {"tagKey": "berth:stack", "status": "Active"}


def test_default_keeps_cost_allocation_tags_of_account() -> None:
    declared = _declared(activate_tag=False)
    assert set(declared) == {"berth:aws:MonthlyBudget", "aws:budgets/budget:Budget"}
    (cost_filter,) = declared["aws:budgets/budget:Budget"]["costFilters"]
    assert cost_filter["values"] == ["user:berth:stack$prod"]
