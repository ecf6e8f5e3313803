"""`berth graph`: the resource graph of a stack as Mermaid text."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.operations.declarations import read_declarations

_PROVIDERS = "pulumi:providers:"
# Nearly every component uses a key, so a node lists its keys instead of having an edge for each.
_KEY = "berth:aws:EncryptionKey"
_ABBREVIATIONS = ("Acl", "Api")
_KINDS_SHOWN = 4
_NAMES_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class Node:
    """Components of one type that have the same distance from the top of the graph.

    Attributes:
        type: Pulumi type token.
        title: The type in words.
        names: Logical names.
        contents: Types of the resources in the components, the most frequent first, such as
            `Subnet 6`.
        keys: Names of the encryption keys that they use.
    """

    type: str
    title: str
    names: tuple[str, ...]
    contents: tuple[str, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes, and edges as pairs of indices: the first node uses the second."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int], ...]


def draw_stack(file: Path) -> str:
    """Return the graph of the stack whose configuration is in `file`, as Mermaid text.

    It contacts neither the engine nor a cloud.

    Raises:
        OperationError: If the configuration is not a valid specification.
    """
    return format_mermaid(build_graph(read_declarations(str(file))))


def build_graph(resources: Iterable[Mapping[str, Any]]) -> Graph:
    """Build the graph of the resources that `berth.operations.offline_program` lists.

    A resource directly under the stack becomes a node, and the resources in it are counted.
    Components of one type share a node if none of them uses another. Edges that follow from other
    edges are omitted (transitive reduction).
    """
    known = {resource["urn"]: resource for resource in resources}
    top = {urn: _find_top(urn, known) for urn in known}
    shown = [urn for urn in known if top[urn] == urn and not _is_provider(known[urn])]
    uses = {urn: _find_used(urn, known, top) for urn in shown}
    keys = {urn for urn in shown if known[urn]["type"] == _KEY}
    needs = {urn: uses[urn] - keys for urn in shown if urn not in keys}
    levels = _compute_levels(needs)
    groups: dict[tuple[int, str], list[str]] = {}
    for urn in sorted(needs, key=lambda urn: str(known[urn]["name"])):
        groups.setdefault((levels[urn], known[urn]["type"]), []).append(urn)
    order = sorted(groups)
    number = {urn: index for index, key in enumerate(order) for urn in groups[key]}
    edges = _reduce([{number[one] for urn in groups[key] for one in needs[urn]} for key in order])
    nodes = [
        Node(
            type=kind,
            title=_in_words(kind),
            names=tuple(str(known[urn]["name"]) for urn in groups[level, kind]),
            contents=_count_contents(groups[level, kind], known, top),
            keys=tuple(
                sorted(
                    {
                        str(known[key]["name"])
                        for urn in groups[level, kind]
                        for key in uses[urn] & keys
                    }
                )
            ),
        )
        for level, kind in order
    ]
    return Graph(nodes=tuple(nodes), edges=tuple(edges))


def format_mermaid(graph: Graph) -> str:
    """Return the graph as a Mermaid flowchart, clients at the top."""
    lines = ["flowchart TD"]
    for index, node in enumerate(graph.nodes):
        names = list(node.names[:_NAMES_SHOWN])
        if len(node.names) > _NAMES_SHOWN:
            names.append(f"and {len(node.names) - _NAMES_SHOWN} more")
        rows = [
            f"<b>{node.title}</b>",
            ", ".join(names),
            ", ".join(node.contents),
            ", ".join(f"key {key}" for key in node.keys),
        ]
        label = "<br/>".join(row for row in rows if row).replace('"', "#quot;")
        lines.append(f'    n{index}["{label}"]')
    lines += [f"    n{first} --> n{second}" for first, second in graph.edges]
    return "\n".join(lines) + "\n"


def _find_top(urn: str, known: Mapping[str, Mapping[str, Any]]) -> str:
    while (parent := known[urn]["parent"]) in known:
        urn = parent
    return urn


def _is_provider(resource: Mapping[str, Any]) -> bool:
    return str(resource["type"]).startswith(_PROVIDERS)


def _find_used(
    urn: str, known: Mapping[str, Mapping[str, Any]], top: Mapping[str, str]
) -> set[str]:
    """Return the shown resources that a resource in `urn` uses, also through a provider."""
    used: set[str] = set()
    queue = [target for one in known if top[one] == urn for target in known[one]["uses"]]
    seen: set[str] = set()
    while queue:
        target = queue.pop()
        if target in seen or target not in known:
            continue
        seen.add(target)
        if _is_provider(known[target]):
            queue += known[target]["uses"]
        elif top[target] != urn:
            used.add(top[target])
    return used


def _compute_levels(needs: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the distance of each resource from the top of the graph.

    A resource is directly above what it uses. One that uses nothing is directly below its users.
    Unconnected resources come last.
    """
    heights: dict[str, int] = {}

    def height(urn: str) -> int:
        if urn not in heights:
            heights[urn] = 1 + max((height(other) for other in needs[urn]), default=-1)
        return heights[urn]

    highest = max((height(urn) for urn in needs), default=0)
    users: dict[str, list[str]] = {}
    for urn, others in needs.items():
        for other in others:
            users.setdefault(other, []).append(urn)
    levels = {urn: highest - height(urn) for urn in needs if needs[urn]}
    for urn in needs:
        if not needs[urn]:
            below = [1 + levels[user] for user in users.get(urn, [])]
            levels[urn] = max(below, default=len(needs))
    return levels


def _reduce(needs: Sequence[set[int]]) -> list[tuple[int, int]]:
    reach: dict[int, set[int]] = {}

    def reachable(index: int) -> set[int]:
        if index not in reach:
            reach[index] = set(needs[index]).union(*(reachable(other) for other in needs[index]))
        return reach[index]

    return [
        (index, other)
        for index, others in enumerate(needs)
        for other in sorted(others)
        if not any(other in reachable(between) for between in others if between != other)
    ]


def _count_contents(
    urns: Sequence[str], known: Mapping[str, Mapping[str, Any]], top: Mapping[str, str]
) -> tuple[str, ...]:
    kinds = Counter(
        str(resource["type"]).rpartition(":")[2]
        for urn, resource in known.items()
        if top[urn] in urns and not str(resource["type"]).startswith("berth:")
    )
    most = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    rest = len(most) - _KINDS_SHOWN
    shown = most if rest <= 1 else most[:_KINDS_SHOWN]
    more = (f"and {rest} more kinds",) if rest > 1 else ()
    return (*(kind if count == 1 else f"{kind} {count}" for kind, count in shown), *more)


def _in_words(kind: str) -> str:
    """Return `Node pool` for `berth:aws:NodePool`."""
    words = re.findall(r"[A-Z][a-z]*|[a-z]+", kind.rpartition(":")[2])
    lower = [word.upper() if word in _ABBREVIATIONS else word.lower() for word in words]
    return " ".join([lower[0][0].upper() + lower[0][1:], *lower[1:]])
