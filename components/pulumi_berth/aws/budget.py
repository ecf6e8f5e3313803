"""MonthlyBudget: a limit for a stack's monthly cost, with notifications."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pulumi
from pulumi_aws import budgets, costexplorer

from pulumi_berth.aws_identity import STACK_TAG
from pulumi_berth.component_args import parse_args


class BudgetScope(StrEnum):
    """The cost that a budget counts."""

    ACCOUNT = "account"
    STACK = "stack"


@dataclass(frozen=True, kw_only=True)
class MonthlyBudgetArgs:
    """Arguments for `MonthlyBudget`.

    Attributes:
        stack_name: Name of the stack, the value of its tag `berth:stack`.
        scope: Cost that counts: of the whole `account`, or of resources with the stack's tag. The
            latter is 0 until the account that pays has activated the tag for cost allocation
            (https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/custom-tags.html).
            Defaults to `account`.
        monthly_usd: Budget for a calendar month, in US dollars.
        alert_percents: Percentages of the budget at which AWS sends a notification, at most 9: a
            budget has up to 10 notifications
            (https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_Notification.html).
        emails: Recipients, at most 10. Without one, only the console shows the budget.
        activate_tag: Activate the tag `berth:stack` as a cost allocation tag. This is a setting of
            the account, or of the management account of an organization, so only one stack sets it.
            AWS accepts a tag one day after its first use
            (https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/activating-tags.html).
    """

    stack_name: str
    monthly_usd: float
    alert_percents: Sequence[int]
    emails: Sequence[str]
    activate_tag: bool | None = False
    scope: BudgetScope | None = None


class MonthlyBudget(pulumi.ComponentResource):
    """A monthly budget for an account, or for all resources with the stack's tag.

    AWS sends a notification at each percentage of actual cost, and one if the forecast exceeds the
    budget.

    Attributes:
        budget: Name of the budget.
    """

    budget: pulumi.Output[str]

    def __init__(
        self, name: str, args: MonthlyBudgetArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:MonthlyBudget", name, None, opts)
        args = parse_args(MonthlyBudgetArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        if args.activate_tag:
            costexplorer.CostAllocationTag(
                name,
                tag_key=STACK_TAG,
                status="Active",
                # Budgets of other stacks in the account need the tag too.
                opts=pulumi.ResourceOptions.merge(
                    child_opts, pulumi.ResourceOptions(retain_on_delete=True)
                ),
            )
        # https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-create-filters.html
        by_tag = budgets.BudgetCostFilterArgs(
            name="TagKeyValue", values=[f"user:{STACK_TAG}${args.stack_name}"]
        )
        budget = budgets.Budget(
            name,
            name_prefix=f"berth-{args.stack_name}-",
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=str(args.monthly_usd),
            limit_unit="USD",
            cost_filters=[by_tag] if args.scope == BudgetScope.STACK else [],
            notifications=_notifications(args),
            opts=child_opts,
        )
        self.budget = budget.name
        self.register_outputs({"budget": self.budget})


def _notifications(args: MonthlyBudgetArgs) -> list[budgets.BudgetNotificationArgs]:
    """Return the notifications. AWS accepts none without a recipient."""
    if not args.emails:
        return []
    actual = [_notification("ACTUAL", percent, args.emails) for percent in args.alert_percents]
    return [*actual, _notification("FORECASTED", 100, args.emails)]


def _notification(kind: str, percent: int, emails: Sequence[str]) -> budgets.BudgetNotificationArgs:
    return budgets.BudgetNotificationArgs(
        notification_type=kind,
        comparison_operator="GREATER_THAN",
        threshold=percent,
        threshold_type="PERCENTAGE",
        subscriber_email_addresses=list(emails),
    )
