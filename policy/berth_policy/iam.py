"""IAM policies as plain data: their statements, actions, resources, principals and conditions."""

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from berth_policy.rule import UNKNOWN, Resource, get_list

Statement = Mapping[str, Any]

# Conditions on these keys say nothing about the resource or the caller.
_WEAK_KEYS = (
    "aws:currenttime",
    "aws:epochtime",
    "aws:multifactorauthpresent",
    "aws:multifactorauthage",
    "aws:referer",
    "aws:requestedregion",
    "aws:securetransport",
    "aws:tokenissuetime",
    "aws:useragent",
)
# Conditions on these keys name callers.
_CALLER_KEYS = (
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceorgid",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "kms:calleraccount",
)
# In ARNs of these services, the name of the resource is first, without its type.
_SERVICES_WITHOUT_TYPES = ("execute-api", "s3", "sns", "sqs")
_ACCOUNT = re.compile(r"(?:^|:)([0-9]{12})(?:$|:)")
_WILDCARDS = str.maketrans("", "", "*?")


class PolicyFormatError(ValueError):
    """A policy that is not a JSON object."""


def read_statements(policy: Any) -> Iterator[Statement]:
    """Return the statements with effect `Allow`. A program passes the policy as text or as data.

    Raises:
        PolicyFormatError: If the policy is not a JSON object.
    """
    if isinstance(policy, str):
        try:
            policy = json.loads(policy)
        except ValueError as error:
            raise PolicyFormatError("its policy is not valid JSON") from error
        if not isinstance(policy, Mapping):
            raise PolicyFormatError("its policy is not a JSON object")
    if isinstance(policy, Mapping):
        for statement in get_list(policy, "Statement"):
            if isinstance(statement, Mapping) and statement.get("Effect") == "Allow":
                yield statement


def read_documents(resource: Resource) -> Iterator[Any]:
    """Return the permission policies of a resource, as text or as data."""
    for key in ("policy", "policyDocument", "inlinePolicy"):
        if resource.get(key) not in (None, UNKNOWN):
            yield resource.get(key)
    for key in ("inlinePolicies", "policies"):
        for inline in get_list(resource.props, key):
            if isinstance(inline, Mapping):
                yield inline.get("policy", inline.get("policyDocument"))


def get_actions(statement: Statement) -> list[str]:
    """Return the actions of a statement. AWS compares them without regard to case."""
    return [str(action) for action in get_list(statement, "Action")]


def allows_action(statement: Statement, action: str) -> bool:
    """Return whether the statement allows `action`, by name or by pattern."""
    if "NotAction" in statement:
        return True
    return any(fnmatchcase(action.lower(), one.lower()) for one in get_actions(statement))


def is_wildcard_action(action: str) -> bool:
    """Return whether an action matches all actions of a service, or of several services.

    In services that grant permissions, a part of a name is too much: `iam:Put*` is administrator.
    """
    service, _, name = action.lower().partition(":")
    has_wildcard = "*" in name or "?" in name
    if service in ("iam", "sts", "organizations", "sso", "sso-admin", "identitystore"):
        return has_wildcard and not name.startswith(("get", "list"))
    return "*" in service or "?" in service or (has_wildcard and not name.translate(_WILDCARDS))


def is_wildcard_resource(resource: str) -> bool:
    """Return whether a resource matches all resources of a service or of a type.

    Such as `*`, `arn:aws:s3:::*`, `arn:aws:iam::123456789012:role/*` or `arn:*`.
    """
    parts = resource.split(":", 5)
    if len(parts) < 6:
        return "*" in resource and not resource.removeprefix("arn:").strip("*?:").replace("aws", "")
    name = parts[5]
    if parts[2] in _SERVICES_WITHOUT_TYPES:
        return not name.partition("/")[0].translate(_WILDCARDS)
    kind, separator, rest = name.partition("/") if "/" in name else name.partition(":")
    return not (rest if separator else kind).replace("/", "").translate(_WILDCARDS)


def is_restricted(statement: Statement) -> bool:
    """Return whether a condition limits what the statement applies to."""
    return any(key not in _WEAK_KEYS for key, _ in _conditions(statement))


def names_callers(statement: Statement) -> bool:
    """Return whether a condition names the callers that the statement applies to."""
    return any(
        key in _CALLER_KEYS and all(_names_something(value) for value in values)
        for key, values in _conditions(statement)
    )


def get_condition(statement: Statement, suffix: str) -> list[str]:
    """Return the required values of the condition keys that end with `suffix`."""
    return [value for key, values in _conditions(statement) if key.endswith(suffix.lower())
            for value in values]  # fmt: skip


def _conditions(statement: Statement) -> Iterator[tuple[str, list[str]]]:
    """Return keys, in lower case, and values of conditions that require one of these values.

    A condition with `IfExists` passes without the key, one with `Not` passes with all other values.
    """
    condition = statement.get("Condition")
    for operator, keys in (condition if isinstance(condition, Mapping) else {}).items():
        name = str(operator).lower().removeprefix("foranyvalue:")
        if "not" in name or name.endswith("ifexists") or name == "null" or "forallvalues" in name:
            continue
        for key in keys if isinstance(keys, Mapping) else ():
            values = [str(one) for one in get_list(keys, key)]
            if keys[key] is UNKNOWN or any(value.translate(_WILDCARDS) for value in values):
                yield str(key).lower(), values


def _names_something(value: str) -> bool:
    if not value.startswith("arn:"):
        return bool(value.translate(_WILDCARDS))
    parts = value.split(":", 5)
    return len(parts) == 6 and bool((parts[4] + parts[5]).translate(_WILDCARDS))


def find_accounts(text: str) -> list[str]:
    """Return the AWS account IDs in an ARN, or the text itself if it is an account ID."""
    return _ACCOUNT.findall(text)


def get_principals(statement: Statement, kind: str) -> list[str]:
    """Return the principals of a kind: `AWS`, `Federated`, `Service` or `CanonicalUser`."""
    principal = statement.get("Principal")
    if isinstance(principal, Mapping):
        return [str(one) for one in get_list(principal, kind)]
    return [str(principal)] if kind == "AWS" and isinstance(principal, str) else []
