"""`berth parity`: what two stacks declare, side by side, without what is a matter of size."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from berth.operations.declarations import declarations

_SHOWN_CHARACTERS = 60
# How Pulumi marks a secret: sdk/go/common/resource/properties.go.
_SIGNATURE, _SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
_ABSENT = "(none)"


@dataclass(frozen=True, kw_only=True)
class Departure:
    """Where the second stack is not like the first.

    Attributes:
        type: of the resource, Pulumi's token.
        name: its logical name.
        key: of the property that differs, empty when only one of the stacks has the resource.
        first, second: what each has, as text.
    """

    type: str
    name: str
    key: str
    first: str
    second: str


def departures(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]
) -> list[Departure]:
    """Return where two lists of declared resources differ, by type and name."""
    ones, others = _by_name(first), _by_name(second)
    found: list[Departure] = []
    for resource in sorted({*ones, *others}):
        kind, name = resource
        if resource not in ones or resource not in others:
            there = resource in ones
            sides = ("declared", _ABSENT) if there else (_ABSENT, "declared")
            found.append(Departure(type=kind, name=name, key="", first=sides[0], second=sides[1]))
            continue
        one, other = dict(_flat(ones[resource])), dict(_flat(others[resource]))
        found += [
            Departure(
                type=kind,
                name=name,
                key=key,
                first=_text(one.get(key, _ABSENT)),
                second=_text(other.get(key, _ABSENT)),
            )
            for key in sorted({*one, *other})
            if one.get(key, _ABSENT) != other.get(key, _ABSENT)
        ]
    return found


def parity(root: Path, first: str, second: str) -> list[Departure]:
    """Where the stack `second` departs from the stack `first`, sizes aside.

    The second stack's `parity.may_differ` names the sizes: its own are replaced by the
    first's before the two are compared, so that whatever follows from a size is no departure.

    Raises:
        OperationError: one of the two is not a sound specification.
    """
    files = [root / f"Pulumi.{name}.yaml" for name in (first, second)]
    asked = [[str(files[0])], [str(files[1]), "--values-from", str(files[0])]]
    with ThreadPoolExecutor() as both:
        ones, others = both.map(lambda arguments: declarations(*arguments), asked)
    return departures(ones, others)


def as_json(first: str, second: str, found: Sequence[Departure]) -> dict[str, Any]:
    """For machines."""
    return {
        "first": first,
        "second": second,
        "parity": not found,
        "departures": [asdict(departure) for departure in found],
    }


def as_markdown(first: str, second: str, found: Sequence[Departure]) -> str:
    """For a pull request."""
    if not found:
        return f"**Parity**: `{first}` and `{second}` declare the same, sizes aside."
    rows = [
        f"| `{departure.type}` | `{departure.name}` | {_cell(departure.key)} "
        f"| {_cell(departure.first)} | {_cell(departure.second)} |"
        for departure in found
    ]
    return "\n".join(
        [
            f"**Parity**: `{second}` departs from `{first}` in {len(found)} places.",
            "",
            f"| type | name | property | {first} | {second} |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def as_text(first: str, second: str, found: Sequence[Departure]) -> str:
    """For a person at a terminal."""
    if not found:
        return f"{first} and {second} declare the same, sizes aside"
    lines = [
        f"{departure.name} ({departure.type}){' ' * bool(departure.key)}{departure.key}: "
        f"{first} {departure.first}, {second} {departure.second}"
        for departure in found
    ]
    return "\n".join([*lines, f"{second} departs from {first} in {len(found)} places"])


def _by_name(
    resources: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(found["type"], found["name"]): found["inputs"] for found in resources}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value inside, with its path; JSON in a text is looked into as well, a secret is not."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, dict) and value.get(_SIGNATURE) == _SECRET:
        yield path, "(secret)"
    elif isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _flat(item, f"{path}[{index}]")
    else:
        yield path, value


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def _cell(text: str) -> str:
    escaped = text.replace("|", "\\|").replace("\n", " ")
    return f"`{escaped}`" if escaped else ""
