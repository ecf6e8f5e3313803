"""A stack's budget, declared with mocks: the emulator does not have cost allocation tags."""

from typing import Any

import pulumi
from pulumi.runtime import mocks

from pulumi_berth.aws.budget import BudgetScope, MonthlyBudget, MonthlyBudgetArgs


class _Engine(mocks.Mocks):
    """A mock engine that records resources."""

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, Any]] = {}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], None]:
        raise NotImplementedError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[Any, Any]]:
        self.resources[args.typ] = args.inputs
        return f"{args.name}-id", args.inputs


def _declared(
    *,
    activate_tag: bool = False,
    scope: BudgetScope | None = None,
    emails: tuple[str, ...] = ("ml@example.com",),
) -> dict[str, dict[str, Any]]:
    engine = _Engine()
    mocks.set_mocks(engine, stack="prod")

    @pulumi.runtime.test  # type: ignore[untyped-decorator]  # Pulumi does not type it.
    def declare() -> pulumi.Output[Any]:
        args = MonthlyBudgetArgs(
            stack_name="prod",
            monthly_usd=24_000,
            alert_percents=[50, 100],
            emails=emails,
            activate_tag=activate_tag,
            scope=scope,
        )
        return MonthlyBudget("budget", args).budget

    declare()
    return engine.resources


def test_activate_tag_creates_cost_allocation_tag() -> None:
    tag = _declared(activate_tag=True)["aws:costexplorer/costAllocationTag:CostAllocationTag"]
    assert tag == {"tagKey": "berth:stack", "status": "Active"}


def test_default_keeps_cost_allocation_tags_of_account() -> None:
    declared = _declared()
    assert set(declared) == {"berth:aws:MonthlyBudget", "aws:budgets/budget:Budget"}


def test_default_counts_the_cost_of_the_whole_account() -> None:
    assert not _declared()["aws:budgets/budget:Budget"].get("costFilters")


def test_scope_stack_counts_the_cost_with_the_tag_of_the_stack() -> None:
    declared = _declared(scope=BudgetScope.STACK)
    (cost_filter,) = declared["aws:budgets/budget:Budget"]["costFilters"]
    assert cost_filter["values"] == ["user:berth:stack$prod"]


def test_budget_without_recipients_has_no_notifications() -> None:
    budget = _declared(emails=())["aws:budgets/budget:Budget"]
    assert not budget.get("notifications")
    assert _declared()["aws:budgets/budget:Budget"]["notifications"]
