"""Values that pass through Pulumi's engine, which stores every number as a float."""

from typing import Any


def restore_integers(value: Any) -> Any:
    """Return `value` with every float that is a whole number converted to an integer."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: restore_integers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restore_integers(item) for item in value]
    return value
