"""Values of arguments and of messages: defaults, numbers as Pulumi's engine stores them, lists."""

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def default_to(value: T | None, default: T) -> T:
    """Return `value`, or `default` if it is None."""
    return default if value is None else value


def join_first(items: Sequence[object], shown: int, separator: str = ", ") -> str:
    """Return the first items as text, and how many more there are."""
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return separator.join(map(str, items[:shown])) + more


def restore_integers(value: Any) -> Any:
    """Return `value` with every float that is a whole number converted to an integer."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: restore_integers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restore_integers(item) for item in value]
    return value
