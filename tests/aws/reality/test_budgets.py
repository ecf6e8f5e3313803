"""A budget counts cost from the first day: AWS counts none by a tag that is not activated.

Only the account that pays can activate a tag for cost allocation, after a resource had it for up to
a day: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/custom-tags.html and
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/activating-tags.html, read 2026-11-26.
"""

from collections.abc import Collection

import pytest

from tests.aws.reality.declared import CONFIGURED, Resource, declare, find_resources

pytestmark = pytest.mark.slow  # Each stack's program imports the SDK of AWS.


def _find_blind_budgets(resources: list[Resource], active_tags: Collection[str]) -> list[str]:
    """Return the budgets that filter by a tag that is not activated, and so count 0 USD."""
    return [
        budget["name"]
        for budget in find_resources(resources, "budget:Budget")
        for one in budget["inputs"].get("costFilters", ())
        if one["name"] == "TagKeyValue"
        for value in one["values"]
        if _get_tag(value) not in active_tags
    ]


def _get_tag(value: str) -> str:
    """Return the key of a tag: `user:berth:stack$dev` names the tag `berth:stack`."""
    return value.removeprefix("user:").partition("$")[0]


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_budget_of_a_new_account_counts_cost(stack: str) -> None:
    resources = declare(stack)
    assert list(find_resources(resources, "budget:Budget"))
    assert _find_blind_budgets(resources, active_tags=()) == []


def test_budget_of_a_stack_counts_cost_once_its_tag_is_active() -> None:
    resources = declare("dev", **CONFIGURED)
    assert _find_blind_budgets(resources, active_tags=()) == ["budget"]
    assert _find_blind_budgets(resources, active_tags=["berth:stack"]) == []
