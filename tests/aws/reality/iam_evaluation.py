"""Evaluation of IAM policies over plain data: is a request allowed?

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def list_values(value: Any) -> list[Any]:
    """Return a value of a policy that is one entry or a list as a list."""
    return list(value) if isinstance(value, list) else [value]


def matches(pattern: str, value: str, *, ignore_case: bool = False) -> bool:
    """Return whether a value matches a pattern with `*` and `?`."""
    text = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(text, value, re.DOTALL | (re.IGNORECASE if ignore_case else 0)) is not None


def is_allowed(
    statements: Iterable[Mapping[str, Any]],
    action: str,
    resource: str,
    context: Mapping[str, str] | None = None,
) -> bool:
    """Return whether the statements allow a request. A denial prevails.

    Args:
        context: Condition keys of the request and their values.
    """
    effects = {
        statement["Effect"]
        for statement in statements
        if _applies(statement, action, resource, context or {})
    }
    return effects == {"Allow"}


def _applies(
    statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]
) -> bool:
    return (
        _selects(statement, "Action", action, ignore_case=True)
        and _selects(statement, "Resource", resource)
        and all(
            _is_met(operator, key, list_values(values), context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _selects(
    statement: Mapping[str, Any], element: str, value: str, *, ignore_case: bool = False
) -> bool:
    excluded = statement.get(f"Not{element}")
    patterns = list_values(statement[element] if excluded is None else excluded)
    found = any(matches(pattern, value, ignore_case=ignore_case) for pattern in patterns)
    return found is (excluded is None)


def _is_met(operator: str, key: str, values: list[str], context: Mapping[str, str]) -> bool:
    actual = context.get(key)
    match operator:
        case "StringEquals":
            return actual in values
        case "StringNotEquals":
            return actual not in values
        case "StringLike" | "ArnLike" | "ArnEquals":
            return actual is not None and any(matches(value, actual) for value in values)
        case "Bool":
            return actual is not None and actual.lower() in [str(value).lower() for value in values]
        case "Null":
            return (actual is None) is (values[0] == "true")
        case _:
            raise NotImplementedError(f"condition operator {operator}")


def find_policy_problems(
    statements: Iterable[Mapping[str, Any]], services: Mapping[str, Mapping[str, list[str]]]
) -> Iterator[str]:
    """Yield what a review of a policy rejects.

    A policy names existing actions without wildcards, and resources where AWS has them.

    Args:
        services: Service prefix -> actions that apply to resources, and those that do not.
    """
    for statement in statements:
        if "NotAction" in statement or "NotResource" in statement:
            yield f"{statement} lists what it excludes"
            continue
        for action in list_values(statement["Action"]):
            service, _, name = action.partition(":")
            known = services.get(service)
            if known is None:
                yield f"{action}: the service {service!r} is not in the table"
            elif "*" in action:
                yield f"{action}: name each action"
            elif name not in known["on_resources"] + known["on_everything"]:
                yield f"{action}: AWS has no such action"
            elif name in known["on_resources"] and "*" in list_values(statement["Resource"]):
                yield f"{action}: name the resources"
