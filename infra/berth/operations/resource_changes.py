"""The resources that a preview changes, from the engine's events."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from berth.operations.preview_events import format_urn

# sdk/go/common/resource/properties.go and sdk/go/common/resource/plugin/rpc.go of Pulumi.
_SIGNATURE, _SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
_STACK_TYPE = "pulumi:pulumi:Stack"
_PROVIDERS = "pulumi:providers:"
# A value that is not known yet: sdk/python/lib/pulumi/runtime/rpc.py of Pulumi.
_UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
# The code of a dynamic provider, and what bridged providers record about their defaults.
_INTERNAL = {"__provider", "__defaults"}


class Operation(StrEnum):
    """What happens to a resource."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"


_OPERATIONS = {
    "create": Operation.CREATE,
    "import": Operation.CREATE,
    "update": Operation.UPDATE,
    "replace": Operation.REPLACE,
    "import-replacement": Operation.REPLACE,
    "delete": Operation.DELETE,
}
"""The engine's operations that change a resource. Those that are part of a replacement are not
listed: pkg/resource/deploy/step_generator.go of Pulumi."""


@dataclass(frozen=True, kw_only=True)
class ResourceChange:
    """A resource that a preview changes.

    Attributes:
        urn: The resource's URN.
        type: Its Pulumi type token.
        name: Its logical name.
        component: Type and logical name of the component that it belongs to, or `stack`.
        operation: What happens to it.
        properties: Paths of the inputs that differ, sorted. Values are not listed.
        unknown: Those of `properties` whose new value is known only after the update, because it
            comes from another resource.
        replaced_by: Inputs that force a replacement.
        has_gap: Whether the old resource of a replacement is deleted before the new one exists.
        is_protected: Whether the engine refuses to delete it.
    """

    urn: str
    type: str
    name: str
    component: str
    operation: Operation
    properties: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    replaced_by: tuple[str, ...] = ()
    has_gap: bool = False
    is_protected: bool = False

    def __str__(self) -> str:
        return f"{shorten_type(self.type)} {self.name}"


def read_changes(lines: Iterable[str]) -> list[ResourceChange]:
    """Return the changed resources, ordered by component, name and type.

    Components themselves and providers are not listed: they have no effect of their own.

    Args:
        lines: One event in JSON each.
    """
    changes: dict[str, ResourceChange] = {}
    created: set[str] = set()
    with_gap: set[str] = set()
    for metadata in _read_steps(lines):
        urn, operation = str(metadata["urn"]), str(metadata["op"])
        if operation == "create-replacement":
            created.add(urn)
        elif operation == "delete-replaced" and urn not in created:
            with_gap.add(urn)
        elif operation in _OPERATIONS and _is_listed(metadata):
            changes[urn] = _parse(metadata, _OPERATIONS[operation])
    marked = [replace(change, has_gap=change.urn in with_gap) for change in changes.values()]
    return sorted(marked, key=lambda change: (change.component, change.name, change.type))


def shorten_type(kind: str) -> str:
    """Return the last part of a type token, such as `Bucket`."""
    return kind.rpartition(":")[2]


def _read_steps(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for line in lines:
        match json.loads(line):
            case {"resourcePreEvent": {"metadata": {"op": str(), "urn": str()} as metadata}}:
                yield metadata


def _is_listed(metadata: Mapping[str, Any]) -> bool:
    kind = str(metadata.get("type", ""))
    state = metadata.get("new") or metadata.get("old") or {}
    return bool(state.get("custom")) and not kind.startswith(_PROVIDERS)


def _parse(metadata: Mapping[str, Any], operation: Operation) -> ResourceChange:
    old, new = metadata.get("old") or {}, metadata.get("new") or {}
    properties: set[str] = set()
    unknown: set[str] = set()
    if operation in (Operation.UPDATE, Operation.REPLACE):
        for path, value in _compare(old.get("inputs") or {}, new.get("inputs") or {}):
            properties.add(path)
            if _has_unknown(value):
                unknown.add(path)
        # The engine hides the values of secrets in events, so only the provider's diff has them.
        for key in [*(metadata.get("diffs") or ()), *(metadata.get("keys") or ())]:
            if not any(_is_within(path, str(key)) for path in properties):
                properties.add(str(key))
    urn = str(metadata["urn"])
    kind, _, name = urn.rpartition("::")
    return ResourceChange(
        urn=urn,
        type=str(metadata.get("type") or kind.rpartition("::")[2].rpartition("$")[2]),
        name=name,
        component=_name_component(str((new or old).get("parent") or "")),
        operation=operation,
        properties=tuple(sorted(properties)),
        unknown=tuple(sorted(unknown)),
        replaced_by=tuple(sorted(map(str, metadata.get("keys") or ()))),
        is_protected=bool(old.get("protect")),
    )


def _name_component(parent: str) -> str:
    return "stack" if not parent or f"::{_STACK_TYPE}::" in parent else format_urn(parent)


def _compare(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the new value of each value that differs.

    A value that is not known yet, and a list of another length, are one value.
    """
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _compare(one, other, f"{path}[{number}]")
        return
    if not (_is_mapping(before) and _is_mapping(after)):
        if before != after:
            yield path, after
        return
    for key in {*before, *after} - _INTERNAL:
        below = f"{path}.{key}" if path else str(key)
        if key in before and key in after:
            yield from _compare(before[key], after[key], below)
        else:
            yield below, after.get(key)


def _has_unknown(value: Any) -> bool:
    """Return whether a value is not known yet, or contains such a value."""
    if isinstance(value, Mapping):
        return any(_has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_unknown(item) for item in value)
    return bool(value == _UNKNOWN)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get(_SIGNATURE) != _SECRET


def _is_within(path: str, parent: str) -> bool:
    return path == parent or path.startswith((f"{parent}.", f"{parent}["))
