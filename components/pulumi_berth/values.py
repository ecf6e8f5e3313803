"""Values of arguments: defaults, and the floats as which Pulumi's engine stores all numbers."""

from typing import Any, TypeVar

T = TypeVar("T")


def default_to(value: T | None, default: T) -> T:
    """Return `value`, or `default` if it is None."""
    return default if value is None else value


def restore_integers(value: Any) -> Any:
    """Return `value` with every float that is a whole number converted to an integer."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: restore_integers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restore_integers(item) for item in value]
    return value
