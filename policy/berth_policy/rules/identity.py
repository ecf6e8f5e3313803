"""Rules for IAM."""

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
_ATTACHMENTS = ("aws:iam/rolePolicyAttachment:RolePolicyAttachment",)
_USERS = (
    "aws:iam/user:User",
    "aws:iam/accessKey:AccessKey",
    "aws:iam/userLoginProfile:UserLoginProfile",
)
# Actions without resource-level permissions that only read or record:
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
_ACTIONS_WITHOUT_RESOURCE = (
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
_ADMIN_POLICIES = ("AdministratorAccess", "PowerUserAccess", "IAMFullAccess")


def _allow_statements(policy: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(policy, str):
        for statement in _list(json.loads(policy).get("Statement")):
            if statement.get("Effect") == "Allow":
                yield statement


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _check_actions(resource: Resource, _: Stack) -> Iterator[str]:
    for statement in _allow_statements(resource.get("policy")):
        wildcards = [action for action in _list(statement.get("Action")) if _is_wildcard(action)]
        if wildcards or "NotAction" in statement:
            yield f"it allows {', '.join(wildcards) or 'all actions except some'}"


def _is_wildcard(action: str) -> bool:
    service, _, name = action.partition(":")
    return "*" in service or name == "*"


def _check_resources(resource: Resource, _: Stack) -> Iterator[str]:
    for statement in _allow_statements(resource.get("policy")):
        if "*" not in _list(statement.get("Resource")) and "NotResource" not in statement:
            continue
        actions = [
            action
            for action in _list(statement.get("Action"))
            if not action.startswith(_ACTIONS_WITHOUT_RESOURCE)
        ]
        if actions and not statement.get("Condition"):
            yield f"it allows {', '.join(actions)} on every resource"


def _check_principals(role: Resource, _: Stack) -> Iterator[str]:
    for statement in _allow_statements(role.get("assumeRolePolicy")):
        principal = statement.get("Principal")
        names = _list(principal.get("AWS")) if isinstance(principal, Mapping) else [principal]
        if "*" in names and not statement.get("Condition"):
            yield "every AWS principal can assume it"


def _check_managed_policy(attachment: Resource, _: Stack) -> Iterator[str]:
    name = str(attachment.get("policyArn")).rpartition("/")[2]
    if name in _ADMIN_POLICIES:
        yield f"it attaches {name}"


def _check_user(_user: Resource, _stack: Stack) -> Iterator[str]:
    yield "it is a credential that does not expire"


RULES = (
    Rule(
        id="iam-no-wildcard-action",
        severity="high",
        types=_POLICIES,
        description="IAM policies list the actions that they allow.",
        remedy="List the required actions.",
        check=_check_actions,
    ),
    Rule(
        id="iam-no-wildcard-resource",
        severity="high",
        types=_POLICIES,
        description="IAM policies name resources for actions that support it.",
        remedy="Specify the ARNs, or add a condition that restricts them.",
        check=_check_resources,
    ),
    Rule(
        id="iam-no-admin-policy",
        severity="critical",
        types=_ATTACHMENTS,
        description="Roles do not have AWS's administrator policies.",
        remedy="Attach a policy with only the required permissions.",
        check=_check_managed_policy,
    ),
    Rule(
        id="iam-named-principals",
        severity="critical",
        types=(_ROLE,),
        description="Roles name the principals that can assume them.",
        remedy="Specify the service or account in assume_role_policy.",
        check=_check_principals,
    ),
    Rule(
        id="iam-no-users",
        severity="high",
        types=_USERS,
        description="IAM users, passwords and access keys do not exist: people and programs assume "
        "roles.",
        remedy="Use a role, IAM Identity Center, or EKS Pod Identity.",
        check=_check_user,
    ),
)
