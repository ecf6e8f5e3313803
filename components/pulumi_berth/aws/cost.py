"""Cost: what a stack may cost in a month, and who is told when it does."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import budgets, costexplorer

# On everything that a stack has, with the stack's name.
STACK_TAG = "berth:stack"


@dataclass(frozen=True, kw_only=True)
class CostArgs:
    """How much, and who is told.

    Attributes:
        monthly_usd: US dollars for a calendar month.
        alert_percents: of these, at which a message goes out; at most 9, as a budget has up to 10
            messages
            (https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_Notification.html).
        emails: addresses that are told, 1 to 10.
        activate_tag: whether the account's bills are split by the stack's tag from here on. It is a
            setting of the account, and of the one that pays for an organisation's others: one stack
            of it sets it, or someone by hand. AWS knows a tag a day after it was first used, and
            refuses it before
            (https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/activating-tags.html).
    """

    monthly_usd: float
    alert_percents: Sequence[int]
    emails: Sequence[str]
    activate_tag: bool = False


class Cost(pulumi.ComponentResource):
    """A monthly budget of what carries the stack's tag, with a message at each percent that was
    spent, and one when all of it is going to be.

    Attributes:
        budget: its name.
    """

    budget: pulumi.Output[str]

    def __init__(
        self, name: str, args: CostArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:Cost", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        stack = pulumi.get_stack()
        if args.activate_tag:
            costexplorer.CostAllocationTag(
                name,
                tag_key=STACK_TAG,
                status="Active",
                # Other stacks of the account are counted by it too.
                opts=pulumi.ResourceOptions.merge(
                    inside, pulumi.ResourceOptions(retain_on_delete=True)
                ),
            )
        spent = [_message("ACTUAL", percent, args.emails) for percent in args.alert_percents]
        budget = budgets.Budget(
            name,
            name_prefix=f"berth-{stack}-",
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=str(args.monthly_usd),
            limit_unit="USD",
            # https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-create-filters.html
            cost_filters=[
                budgets.BudgetCostFilterArgs(
                    name="TagKeyValue", values=[f"user:{STACK_TAG}${stack}"]
                )
            ],
            notifications=[*spent, _message("FORECASTED", 100, args.emails)],
            opts=inside,
        )
        self.budget = budget.name
        self.register_outputs({"budget": self.budget})


def _message(kind: str, percent: int, emails: Sequence[str]) -> budgets.BudgetNotificationArgs:
    return budgets.BudgetNotificationArgs(
        notification_type=kind,
        comparison_operator="GREATER_THAN",
        threshold=percent,
        threshold_type="PERCENTAGE",
        subscriber_email_addresses=list(emails),
    )
