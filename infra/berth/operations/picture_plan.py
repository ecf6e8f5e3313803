"""Which boxes and arrows a picture of a stack has: its components, and what each stands on."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_PROVIDERS = "pulumi:providers:"
# Used by nearly everything: told in the boxes, where arrows would be a thicket.
_KEY = "berth:aws:EncryptionKey"
_ABBREVIATIONS = ("Acl", "Api")
_KINDS_SHOWN = 4
_SWEEPS = 8


@dataclass(frozen=True, kw_only=True)
class Box:
    """Components of one type that stand on the same level.

    Attributes:
        type: Pulumi's token.
        title: the type in words.
        names: logical ones.
        holds: what the components are made of, the most frequent first, such as `Subnet 6`.
        keys: names of the encryption keys that it uses.
        level: 0 is the top, which nothing else stands on; None for what stands on nothing, and
            nothing on it.
        place: in its level, from the left.
    """

    type: str
    title: str
    names: tuple[str, ...]
    holds: tuple[str, ...]
    keys: tuple[str, ...]
    level: int | None
    place: int


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Boxes, and pairs of their indices: the first stands on the second, and on all that that
    stands on."""

    boxes: tuple[Box, ...]
    arrows: tuple[tuple[int, int], ...]


def picture(resources: Iterable[Mapping[str, Any]]) -> Picture:
    """The picture of what `berth.operations.declared` finds.

    What stands directly under the stack is drawn; what is inside it is counted. Components of one
    type become one box where none of them stands on another. An arrow that others make needless is
    left out (transitive reduction).
    """
    known = {resource["urn"]: resource for resource in resources}
    top = {urn: _top(urn, known) for urn in known}
    shown = [urn for urn in known if top[urn] == urn and not _is_provider(known[urn])]
    uses = {urn: _below(urn, known, top) for urn in shown}
    keys = {urn for urn in shown if known[urn]["type"] == _KEY}
    below = {urn: uses[urn] - keys for urn in shown if urn not in keys}
    levels = _levels(below)
    groups: dict[tuple[int, str], list[str]] = {}
    for urn in sorted(below, key=lambda urn: str(known[urn]["name"])):
        # What is apart comes last, in a level that is none.
        groups.setdefault((levels.get(urn, len(below)), known[urn]["type"]), []).append(urn)
    order = sorted(groups)
    number = {urn: index for index, key in enumerate(order) for urn in groups[key]}
    arrows = _reduced([{number[one] for urn in groups[key] for one in below[urn]} for key in order])
    places = _placed([level for level, _ in order], arrows)
    boxes = [
        Box(
            type=kind,
            title=_in_words(kind),
            names=tuple(str(known[urn]["name"]) for urn in groups[level, kind]),
            holds=_held(groups[level, kind], known, top),
            keys=tuple(
                sorted(
                    {
                        str(known[one]["name"])
                        for urn in groups[level, kind]
                        for one in uses[urn] & keys
                    }
                )
            ),
            level=level if level < len(below) else None,
            place=places[index],
        )
        for index, (level, kind) in enumerate(order)
    ]
    return Picture(boxes=tuple(boxes), arrows=tuple(arrows))


def _top(urn: str, known: Mapping[str, Mapping[str, Any]]) -> str:
    while (parent := known[urn]["parent"]) in known:
        urn = parent
    return urn


def _is_provider(resource: Mapping[str, Any]) -> bool:
    return str(resource["type"]).startswith(_PROVIDERS)


def _below(urn: str, known: Mapping[str, Mapping[str, Any]], top: Mapping[str, str]) -> set[str]:
    """The shown resources that something in `urn` uses; through providers, what those use."""
    found: set[str] = set()
    waiting = [used for one in known if top[one] == urn for used in known[one]["uses"]]
    seen: set[str] = set()
    while waiting:
        used = waiting.pop()
        if used in seen or used not in known:
            continue
        seen.add(used)
        if _is_provider(known[used]):
            waiting += known[used]["uses"]
        elif top[used] != urn:
            found.add(top[used])
    return found


def _levels(below: Mapping[str, set[str]]) -> dict[str, int]:
    """How far from the top each is drawn: right above what it stands on, and what stands on nothing
    right under what stands on it. What is apart has none."""
    heights: dict[str, int] = {}

    def height(urn: str) -> int:
        if urn not in heights:
            heights[urn] = 1 + max((height(other) for other in below[urn]), default=-1)
        return heights[urn]

    highest = max((height(urn) for urn in below), default=0)
    above: dict[str, list[str]] = {}
    for urn, others in below.items():
        for other in others:
            above.setdefault(other, []).append(urn)
    levels = {urn: highest - height(urn) for urn in below if below[urn]}
    for urn in below:
        if not below[urn] and urn in above:
            levels[urn] = 1 + max(levels[other] for other in above[urn])
    return levels


def _reduced(needs: Sequence[set[int]]) -> list[tuple[int, int]]:
    reach: dict[int, set[int]] = {}

    def reached(index: int) -> set[int]:
        if index not in reach:
            reach[index] = set(needs[index]).union(*(reached(other) for other in needs[index]))
        return reach[index]

    return [
        (index, other)
        for index, others in enumerate(needs)
        for other in sorted(others)
        if not any(other in reached(between) for between in others if between != other)
    ]


def _placed(levels: Sequence[int], arrows: Sequence[tuple[int, int]]) -> list[int]:
    """Places in the levels such that few arrows cross: each box goes to the middle of its
    neighbours, swept to and fro (the barycentre method of layered drawing)."""
    places = [levels[:index].count(level) for index, level in enumerate(levels)]
    for sweep in range(_SWEEPS):
        for level in sorted(set(levels), reverse=bool(sweep % 2)):
            members = [index for index, own in enumerate(levels) if own == level]
            middle = {index: _middle(index, places, arrows) for index in members}
            for place, index in enumerate(sorted(members, key=lambda one: (middle[one], one))):
                places[index] = place
    return places


def _middle(index: int, places: Sequence[int], arrows: Sequence[tuple[int, int]]) -> float:
    near = [places[b if a == index else a] for a, b in arrows if index in (a, b)]
    return sum(near) / len(near) if near else float(places[index])


def _held(
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
    """`berth:aws:NodePool` as `Node pool`."""
    words = re.findall(r"[A-Z][a-z]*|[a-z]+", kind.rpartition(":")[2])
    said = [word.upper() if word in _ABBREVIATIONS else word.lower() for word in words]
    return " ".join([said[0][0].upper() + said[0][1:], *said[1:]])
