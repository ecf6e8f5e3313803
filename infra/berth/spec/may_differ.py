"""Copies the values that may differ from one stack's configuration to another's."""

from collections.abc import Iterator
from typing import Any

from berth.spec.errors import Path

_ABSENT = object()


def copy_values(
    target: dict[str, Any], source: dict[str, Any], patterns: list[str]
) -> dict[str, Any]:
    """Return the sections of `target` with the values that `source` has for each pattern.

    Args:
        patterns: Keys, with `*` for any name that `target` has; see `ParitySpec.may_differ`. A name
            that only `source` has, such as a model, is a real difference and is not copied.
    """
    result: dict[str, Any] = _copy(target)
    for pattern in patterns:
        for path in _expand(target, tuple(pattern.split("."))):
            _set(result, path, _get(source, path))
    return result


def _expand(sections: dict[str, Any], steps: tuple[str, ...]) -> Iterator[Path]:
    """Return the paths that a pattern matches, replacing each `*` by the existing names."""
    paths: list[Path] = [()]
    for index, step in enumerate(steps):
        if step != "*":
            paths = [(*path, step) for path in paths]
            continue
        assert index, "a pattern begins with a section"
        paths = [
            (*path, name)
            for path in paths
            for name in (_get(sections, path) if isinstance(_get(sections, path), dict) else ())
        ]
    yield from paths


def _get(node: Any, path: Path) -> Any:
    for step in path:
        if not isinstance(node, dict) or step not in node:
            return _ABSENT
        node = node[step]
    return node


def _set(node: dict[str, Any], path: Path, value: Any) -> None:
    *parents, last = path
    for step in parents:
        child = node.get(str(step))
        if not isinstance(child, dict):
            if value is _ABSENT:
                return
            child = node[str(step)] = {}
        node = child
    if value is _ABSENT:
        node.pop(str(last), None)
    else:
        node[str(last)] = _copy(value)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
