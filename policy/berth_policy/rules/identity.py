"""Rules for IAM permissions and credentials."""

import re
from collections.abc import Callable, Iterator

from berth_policy.iam import (
    PolicyFormatError,
    Statement,
    allows_action,
    get_actions,
    is_restricted,
    is_wildcard_action,
    is_wildcard_resource,
    read_documents,
    read_statements,
)
from berth_policy.rule import Check, Resource, Rule, Stack, get_list

_ROLE = "aws:iam/role:Role"
_POLICIES = (
    "aws:iam/policy:Policy",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/groupPolicy:GroupPolicy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:ssoadmin/permissionSetInlinePolicy:PermissionSetInlinePolicy",
    # Roles can contain policies.
    _ROLE,
    "aws-native:iam:*",
)
_ATTACHMENTS = (
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment",
    "aws:iam/policyAttachment:PolicyAttachment",
    "aws:ssoadmin/managedPolicyAttachment:ManagedPolicyAttachment",
    _ROLE,
    "aws-native:iam:*",
)
_USERS = (
    "aws:iam/user:User",
    "aws:iam/accessKey:AccessKey",
    "aws:iam/userLoginProfile:UserLoginProfile",
    "aws-native:iam:User",
    "aws-native:iam:AccessKey",
)
# Actions without resource-level permissions that only read or record:
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
_ACTIONS_WITHOUT_RESOURCE = (
    "autoscaling:describe",
    "cloudwatch:putmetricdata",
    "ec2:describe",
    "ec2:getinstancetypesfrominstancerequirements",
    "ecr:getauthorizationtoken",
    "eks:list",
    "logs:describeloggroups",
    "sts:getcalleridentity",
    "xray:put",
)
# AWS's policies for administrators, and those for everything that a service can do:
# https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html
_ADMIN_POLICY = re.compile(
    r"AdministratorAccess|PowerUserAccess|FullAccess|job-function/.*Administrator"
)
_PASS_ROLE = "iam:PassRole"  # noqa: S105 - an action


def _each_statement(check_statement: Callable[[Statement], str | None]) -> Check:
    """Return a check that applies `check_statement` to what the resource's policies allow."""

    def check(resource: Resource, _: Stack) -> Iterator[str]:
        for document in read_documents(resource):
            try:
                messages = [check_statement(statement) for statement in read_statements(document)]
            except PolicyFormatError as error:
                messages = [str(error)]
            yield from (message for message in messages if message)

    return check


def _check_actions(statement: Statement) -> str | None:
    if "NotAction" in statement:
        return "it allows all actions except some"
    wildcards = [action for action in get_actions(statement) if is_wildcard_action(action)]
    return f"it allows {', '.join(wildcards)}" if wildcards else None


def _check_resources(statement: Statement) -> str | None:
    if "NotResource" in statement:
        return "it applies to all resources except some"
    resources = [str(one) for one in get_list(statement, "Resource")]
    if not any(is_wildcard_resource(one) for one in resources) or is_restricted(statement):
        return None
    actions = [
        action
        for action in get_actions(statement)
        if not action.lower().startswith(_ACTIONS_WITHOUT_RESOURCE)
    ]
    return f"it allows {', '.join(actions)} on every resource" if actions else None


def _check_pass_role(statement: Statement) -> str | None:
    resources = [str(one) for one in get_list(statement, "Resource")]
    is_open = "NotResource" in statement or any(is_wildcard_resource(one) for one in resources)
    if is_open and allows_action(statement, _PASS_ROLE):
        return "it can give every role of the account to a service"
    return None


def _check_managed_policy(resource: Resource, _: Stack) -> Iterator[str]:
    arns = [
        str(arn)
        for key in ("policyArn", "policyArns", "managedPolicyArns", "managedPolicyArn")
        for arn in get_list(resource.props, key)
    ]
    for arn in arns:
        if _ADMIN_POLICY.search(arn):
            yield f"it attaches {arn.rpartition('/')[2]}"


def _check_user(_user: Resource, _stack: Stack) -> Iterator[str]:
    yield "it is a credential that does not expire"


RULES = (
    Rule(
        id="iam-no-wildcard-action",
        severity="high",
        types=_POLICIES,
        description="IAM policies list the actions that they allow. In services that grant "
        "permissions, such as IAM, no part of a name is a wildcard.",
        remedy="List the required actions.",
        check=_each_statement(_check_actions),
    ),
    Rule(
        id="iam-no-wildcard-resource",
        severity="high",
        types=_POLICIES,
        description="IAM policies name resources for actions that support it.",
        remedy="Specify the ARNs, or add a condition that restricts them.",
        check=_each_statement(_check_resources),
    ),
    Rule(
        id="iam-pass-role",
        severity="critical",
        types=_POLICIES,
        description="IAM policies name the roles that can be given to a service, even with a "
        "condition.",
        remedy="Specify the ARNs of the roles for iam:PassRole.",
        check=_each_statement(_check_pass_role),
    ),
    Rule(
        id="iam-no-admin-policy",
        severity="critical",
        types=_ATTACHMENTS,
        description="Nobody has AWS's policies for administrators or for everything that a service "
        "can do (`*FullAccess`).",
        remedy="Attach a policy with only the required permissions.",
        check=_check_managed_policy,
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
