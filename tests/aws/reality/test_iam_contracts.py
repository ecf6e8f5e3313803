"""Each identity of a stack may do what it calls on AWS, and little else.

The tables in `data/` list the calls of each identity, AWS's managed policies and AWS's actions.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pulumi_berth.aws.api_log_role import POLICY
from tests.aws.reality.declared import declare, select
from tests.aws.reality.iam_evaluation import find_policy_problems, is_allowed, list_values
from tests.aws.reality.tables import read_table

_STACKS = ("dev", "prod")
_MANAGED = "arn:aws:iam::aws:policy/"
_ACTIONS = read_table("iam_actions")["services"]
_IDENTITIES = read_table("iam_calls")["identities"]
_POLICIES = read_table("managed_policies")["policies"]


def _attachments(stack: str, role: str) -> Iterator[str]:
    """Return the names of the managed policies of a role, with their paths."""
    for inputs in select(
        declare(stack), "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    ).values():
        if inputs["role"].endswith(f"Role {role}"):
            yield inputs["policyArn"].removeprefix(_MANAGED)
    if role in _api_log_roles(stack):
        yield POLICY.removeprefix(_MANAGED)


def _api_log_roles(stack: str) -> list[str]:
    """Return the resource that creates a role by itself, if the account has none."""
    return list(select(declare(stack), "pulumi-python:dynamic/berth:ApiLogRole"))


def _own_statements(stack: str, role: str) -> list[dict[str, Any]]:
    return [
        statement
        for inputs in select(declare(stack), "aws:iam/rolePolicy:RolePolicy").values()
        if inputs["role"].endswith(f"Role {role}")
        for statement in json.loads(inputs["policy"])["Statement"]
    ]


def _statements(stack: str, role: str) -> list[dict[str, Any]]:
    managed = [
        statement
        for name in _attachments(stack, role)
        for statement in list_values(_POLICIES[name]["document"]["Statement"])
    ]
    return managed + _own_statements(stack, role)


def _roles(stack: str) -> list[str]:
    return sorted([*select(declare(stack), "aws:iam/role:Role"), *_api_log_roles(stack)])


_CASES = [(stack, role) for stack in _STACKS for role in sorted(_IDENTITIES)]


@pytest.mark.parametrize("stack", _STACKS)
def test_every_role_has_a_contract_and_every_managed_policy_is_known(stack: str) -> None:
    assert set(_roles(stack)) <= set(_IDENTITIES)
    used = {name for role in _roles(stack) for name in _attachments(stack, role)}
    assert used <= set(_POLICIES)


@pytest.mark.parametrize(("stack", "role"), _CASES)
def test_identity_may_do_what_it_calls(stack: str, role: str) -> None:
    if role not in _roles(stack):
        assert role == "data-replica", role
        return
    statements = _statements(stack, role)
    missing = [
        f"{call['action']}: {call['why']}"
        for call in _IDENTITIES[role]["calls"]
        if not is_allowed(statements, call["action"], call["resource"], call.get("context"))
    ]
    assert missing == []


@pytest.mark.parametrize(("stack", "role"), _CASES)
def test_identity_may_not_do_more(stack: str, role: str) -> None:
    if role not in _roles(stack):
        return
    statements = _statements(stack, role)
    excess = [
        call["action"]
        for call in _IDENTITIES[role]["refused"]
        if is_allowed(statements, call["action"], call["resource"], call.get("context"))
    ]
    assert excess == []


@pytest.mark.parametrize("stack", _STACKS)
def test_own_policies_name_existing_actions_and_resources(stack: str) -> None:
    problems = {
        role: list(find_policy_problems(_own_statements(stack, role), _ACTIONS))
        for role in _roles(stack)
    }
    assert {role: found for role, found in problems.items() if found} == {}


def test_calls_in_the_table_exist() -> None:
    for identity in _IDENTITIES.values():
        for call in identity["calls"] + identity["refused"]:
            service, _, name = call["action"].partition(":")
            assert name in _ACTIONS[service]["on_resources"] + _ACTIONS[service]["on_everything"]


def test_review_finds_wildcards_unknown_actions_and_missing_resources() -> None:
    statements = [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::one/*"},
        {"Effect": "Allow", "Action": "ec2:DescribeInstance", "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"},
        {"Effect": "Allow", "NotAction": "s3:GetObject", "Resource": "*"},
        {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"},
    ]
    assert len(list(find_policy_problems(statements, _ACTIONS))) == 4
