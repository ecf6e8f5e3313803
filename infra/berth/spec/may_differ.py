"""What may differ between two stacks that are otherwise the same, taken from one to the other."""

from collections.abc import Iterator
from typing import Any

from berth.spec.errors import Path

_ABSENT = object()


def with_values_from(
    own: dict[str, Any], other: dict[str, Any], sizes: list[str]
) -> dict[str, Any]:
    """The sections `own` with the values that `other` has for each of `sizes`.

    Args:
        sizes: keys, with `*` for any name; see `ParitySpec.may_differ`. What only `other` has
            a name            for, such as a model, is not taken: that is no matter of size.
    """
    result: dict[str, Any] = _copy(own)
    for pattern in sizes:
        steps = tuple(pattern.split("."))
        for path in _matches(own, steps):
            _set(result, path, _at(other, path))
    return result


def _matches(sections: dict[str, Any], steps: tuple[str, ...]) -> Iterator[Path]:
    """The paths that a pattern stands for: `*` for each name that there is."""
    paths: list[Path] = [()]
    for index, step in enumerate(steps):
        if step != "*":
            paths = [(*path, step) for path in paths]
            continue
        paths = [
            (*path, name)
            for path in paths
            for name in (_at(sections, path) if isinstance(_at(sections, path), dict) else ())
        ]
        assert index, "a pattern begins with a section"
    yield from paths


def _at(node: Any, path: Path) -> Any:
    for step in path:
        if not isinstance(node, dict) or step not in node:
            return _ABSENT
        node = node[step]
    return node


def _set(node: dict[str, Any], path: Path, value: Any) -> None:
    *above, last = path
    for step in above:
        inside = node.get(str(step))
        if not isinstance(inside, dict):
            if value is _ABSENT:
                return
            inside = node[str(step)] = {}
        node = inside
    if value is _ABSENT:
        node.pop(str(last), None)
    else:
        node[str(last)] = _copy(value)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
