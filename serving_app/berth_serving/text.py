"""Text of a request in an error message: short, however long the request's text is."""

from collections.abc import Iterable, Sequence

_MAX_CHARACTERS = 64
_MAX_ITEMS = 16


def quote(value: object) -> str:
    """Return the representation of a value, without its end if it is long."""
    if isinstance(value, str) and len(value) > _MAX_CHARACTERS:
        return f"{value[:_MAX_CHARACTERS]!r}… ({len(value)} characters)"
    text = repr(value)
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + "…"


def describe_shape(shape: Sequence[int]) -> str:
    """Return a shape, without its end if it has many dimensions."""
    if len(shape) <= _MAX_ITEMS:
        return str(list(shape))
    dims = ", ".join(str(dim) for dim in shape[:_MAX_ITEMS])
    return f"[{dims}, …] ({len(shape)} dimensions)"


def list_names(names: Iterable[str]) -> str:
    """Return names separated by commas, without those at the end if there are many."""
    all_names = list(names)
    text = ", ".join(all_names[:_MAX_ITEMS])
    rest = len(all_names) - _MAX_ITEMS
    return text if rest <= 0 else f"{text} and {rest} more"
