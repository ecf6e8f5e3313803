"""Who may do what."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.rule import Resource, Rule, Stack

_POLICIES = (
    "aws:iam/policy:Policy",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/groupPolicy:GroupPolicy",
    "aws:iam/userPolicy:UserPolicy",
)
_ROLE = "aws:iam/role:Role"
_ATTACHED = ("aws:iam/rolePolicyAttachment:RolePolicyAttachment",)
_PEOPLE = (
    "aws:iam/user:User",
    "aws:iam/accessKey:AccessKey",
    "aws:iam/userLoginProfile:UserLoginProfile",
)
# Actions that take no resource, and ask or record alone:
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
_WITHOUT_RESOURCE = (
    "autoscaling:Describe",
    "cloudwatch:PutMetricData",
    "ec2:Describe",
    "ec2:GetInstanceTypesFromInstanceRequirements",
    "ecr:GetAuthorizationToken",
    "eks:List",
    "logs:DescribeLogGroups",
    "sts:GetCallerIdentity",
    "xray:Put",
)
_FULL_RIGHTS = ("AdministratorAccess", "PowerUserAccess", "IAMFullAccess")


def _allowed(policy: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(policy, str):
        for statement in _list(json.loads(policy).get("Statement")):
            if statement.get("Effect") == "Allow":
                yield statement


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _any_action(resource: Resource, _: Stack) -> Iterator[str]:
    for statement in _allowed(resource.at("policy")):
        wide = [action for action in _list(statement.get("Action")) if _is_wide(action)]
        if wide or "NotAction" in statement:
            yield f"it allows {', '.join(wide) or 'all but some actions'}"


def _is_wide(action: str) -> bool:
    service, _, name = action.partition(":")
    return "*" in service or name == "*"


def _any_resource(resource: Resource, _: Stack) -> Iterator[str]:
    for statement in _allowed(resource.at("policy")):
        if "*" not in _list(statement.get("Resource")) and "NotResource" not in statement:
            continue
        wide = [
            action
            for action in _list(statement.get("Action"))
            if not action.startswith(_WITHOUT_RESOURCE)
        ]
        if wide and not statement.get("Condition"):
            yield f"it allows {', '.join(wide)} on everything"


def _any_principal(role: Resource, _: Stack) -> Iterator[str]:
    for statement in _allowed(role.at("assumeRolePolicy")):
        principal = statement.get("Principal")
        named = _list(principal.get("AWS")) if isinstance(principal, Mapping) else [principal]
        if "*" in named and not statement.get("Condition"):
            yield "anybody may take it on"


def _full_rights(attached: Resource, _: Stack) -> Iterator[str]:
    name = str(attached.at("policyArn")).rpartition("/")[2]
    if name in _FULL_RIGHTS:
        yield f"it has {name}"


def _person(_person: Resource, _stack: Stack) -> Iterator[str]:
    yield "it has a credential that does not expire"


RULES = (
    Rule(
        id="iam-no-wildcard-action",
        severity="high",
        types=_POLICIES,
        says="A policy names the actions that it allows.",
        remedy="List the actions that are needed.",
        check=_any_action,
    ),
    Rule(
        id="iam-no-wildcard-resource",
        severity="high",
        types=_POLICIES,
        says="A policy names the resources that it is about, where the actions take any.",
        remedy="Name the ARNs, or add a condition that narrows them.",
        check=_any_resource,
    ),
    Rule(
        id="iam-no-full-rights",
        severity="critical",
        types=_ATTACHED,
        says="No role has AWS's policies of full rights.",
        remedy="Attach a policy of the rights that are needed.",
        check=_full_rights,
    ),
    Rule(
        id="iam-known-principals",
        severity="critical",
        types=(_ROLE,),
        says="A role names who may take it on.",
        remedy="Name the service or account in assume_role_policy.",
        check=_any_principal,
    ),
    Rule(
        id="iam-no-users",
        severity="high",
        types=_PEOPLE,
        says="There are no users, passwords and access keys: people and programs take on roles.",
        remedy="Use a role, IAM Identity Center, or pod identity.",
        check=_person,
    ),
)
