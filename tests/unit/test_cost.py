"""A stack's budget, declared: the emulator has nothing of Cost Explorer's tags."""

from typing import Any

import pulumi
from pulumi.runtime import mocks

from pulumi_berth.aws.cost import Cost, CostArgs


class _Engine(mocks.Mocks):
    """Takes down what is declared."""

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

    @pulumi.runtime.test
    def declare() -> pulumi.Output[Any]:
        args = CostArgs(
            monthly_usd=24_000,
            alert_percents=[50, 100],
            emails=["ml@example.com"],
            activate_tag=activate_tag,
        )
        return Cost("cost", args).budget

    declare()
    return engine.resources


def test_the_tag_is_made_one_that_costs_are_split_by() -> None:
    tag = _declared(activate_tag=True)["aws:costexplorer/costAllocationTag:CostAllocationTag"]
    assert tag == {"tagKey": "berth:stack", "status": "Active"}


def test_the_accounts_bills_are_left_alone_unless_asked_for() -> None:
    declared = _declared(activate_tag=False)
    assert set(declared) == {"berth:aws:Cost", "aws:budgets/budget:Budget"}
    (counted,) = declared["aws:budgets/budget:Budget"]["costFilters"]
    assert counted["values"] == ["user:berth:stack$prod"]
