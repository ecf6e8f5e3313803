"""Drift: differences between the resources that exist and the stack's last update."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from berth.operations.preview_events import format_urn


@dataclass(frozen=True, order=True)
class Drift:
    """One resource that something other than the stack changed or deleted.

    Attributes:
        resource: The resource's type and logical name.
        properties: Paths of the changed properties, if the provider reports them.
        is_deleted: Whether the resource no longer exists.
    """

    resource: str
    properties: tuple[str, ...] = ()
    is_deleted: bool = False

    def __str__(self) -> str:
        if self.is_deleted:
            return f"{self.resource} no longer exists"
        changed = f": {', '.join(self.properties)}" if self.properties else ""
        return f"{self.resource} was changed{changed}"


def parse_drift(lines: Iterable[str]) -> list[Drift]:
    """Return the drift in the engine's events of a refresh.

    Args:
        lines: One event in JSON each.
    """
    found: set[Drift] = set()
    for line in lines:
        match json.loads(line):
            case {"resOutputsEvent": {"metadata": {"op": "delete", "urn": str(urn)}}}:
                found.add(Drift(format_urn(urn), is_deleted=True))
            case {"resOutputsEvent": {"metadata": {"op": "update", "urn": str(urn), **more}}}:
                paths = more.get("detailedDiff") or more.get("diffs") or ()
                properties = [str(path) for path in paths] if isinstance(paths, dict | list) else []
                found.add(Drift(format_urn(urn), tuple(sorted(properties))))
    return sorted(found)


def merge_drift(
    engine: Iterable[Drift], lines: Iterable[str], resources: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Return the platform's lines, and those of the engine's drift that they do not cover.

    The platform compares more than the engine, and names the fields of an object. The engine also
    reads resources that are no objects.

    Args:
        lines: The platform's drift: kind and name of an object, and what happened to it.
        resources: The resources in the state, which relate the engine's names to those of objects.
    """
    merged = list(lines)
    names: dict[str, str] = {}
    for resource in resources:
        metadata = resource["outputs"].get("metadata")
        if resource.get("urn") and isinstance(metadata, dict):
            kind = resource["outputs"].get("kind")
            names[format_urn(resource["urn"])] = f"{kind} {metadata.get('name')} "
    known = {names[key] for key in names if any(line.startswith(names[key]) for line in merged)}
    return merged + [str(one) for one in engine if names.get(one.resource) not in known]


def format_drift(stack: str, drift: Iterable[object]) -> list[str]:
    """Return one line for each difference, below a line that says what happens with them."""
    lines = [f"  {each}" for each in drift]
    if not lines:
        return []
    return [
        f"Drift: these differ from the last update of stack '{stack}'. 'berth up' restores them.",
        *lines,
    ]
