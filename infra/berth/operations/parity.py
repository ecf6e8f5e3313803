"""`berth parity`: a comparison of two stacks that ignores the values that may differ."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from berth.operations.declarations import read_declarations

_SHOWN_CHARACTERS = 60
# The marker of a secret: sdk/go/common/resource/properties.go of Pulumi.
_SIGNATURE, _SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
_ABSENT = "(none)"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One difference between the declarations of two stacks.

    Attributes:
        type: The resource's Pulumi type token.
        name: The resource's logical name.
        key: The property that differs. Empty if only one of the stacks has the resource.
        first: The first stack's value as text.
        second: The second stack's value as text.
    """

    type: str
    name: str
    key: str
    first: str
    second: str


def find_differences(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]
) -> list[Difference]:
    """Return the differences between two lists of declared resources, by type and name."""
    ones, others = _by_name(first), _by_name(second)
    differences: list[Difference] = []
    for resource in sorted({*ones, *others}):
        kind, name = resource
        if resource not in ones or resource not in others:
            sides = ("declared", _ABSENT) if resource in ones else (_ABSENT, "declared")
            differences.append(
                Difference(type=kind, name=name, key="", first=sides[0], second=sides[1])
            )
            continue
        one, other = dict(_flatten(ones[resource])), dict(_flatten(others[resource]))
        differences += [
            Difference(
                type=kind,
                name=name,
                key=key,
                first=_shorten(one.get(key, _ABSENT)),
                second=_shorten(other.get(key, _ABSENT)),
            )
            for key in sorted({*one, *other})
            if one.get(key, _ABSENT) != other.get(key, _ABSENT)
        ]
    return differences


def compare_stacks(root: Path, first: str, second: str) -> list[Difference]:
    """Return the differences between two stacks, ignoring the values that may differ.

    The second stack's `parity.may_differ` names these values. They are replaced by the first
    stack's values before the comparison, so that a value that follows from them is no difference.

    Raises:
        OperationError: If one of the two is not a valid specification.
    """
    files = [root / f"Pulumi.{name}.yaml" for name in (first, second)]
    arguments = [[str(files[0])], [str(files[1]), "--values-from", str(files[0])]]
    with ThreadPoolExecutor() as pool:
        ones, others = pool.map(lambda each: read_declarations(*each), arguments)
    return find_differences(ones, others)


def as_json(first: str, second: str, differences: Sequence[Difference]) -> dict[str, Any]:
    """Return the comparison as a JSON document."""
    return {
        "first": first,
        "second": second,
        "parity": not differences,
        "differences": [asdict(difference) for difference in differences],
    }


def format_markdown(first: str, second: str, differences: Sequence[Difference]) -> str:
    """Return the comparison as Markdown, for a pull request."""
    if not differences:
        return (
            f"**Parity**: `{first}` and `{second}` declare the same, except for the values that "
            "may differ."
        )
    rows = [
        f"| `{difference.type}` | `{difference.name}` | {_cell(difference.key)} "
        f"| {_cell(difference.first)} | {_cell(difference.second)} |"
        for difference in differences
    ]
    return "\n".join(
        [
            f"**Parity**: `{second}` differs from `{first}` in {len(differences)} places.",
            "",
            f"| type | name | property | {first} | {second} |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def format_text(first: str, second: str, differences: Sequence[Difference]) -> str:
    """Return the comparison as text."""
    if not differences:
        return f"{first} and {second} declare the same, except for the values that may differ"
    lines = [
        f"{difference.name} ({difference.type}){' ' * bool(difference.key)}{difference.key}: "
        f"{first} {difference.first}, {second} {difference.second}"
        for difference in differences
    ]
    return "\n".join([*lines, f"{second} differs from {first} in {len(differences)} places"])


def _by_name(
    resources: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(resource["type"], resource["name"]): resource["inputs"] for resource in resources}


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every nested value with its path. JSON in text is decoded, a secret is hidden."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, dict) and value.get(_SIGNATURE) == _SECRET:
        yield path, "(secret)"
    elif isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _flatten(item, f"{path}[{index}]")
    else:
        yield path, value


def _shorten(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def _cell(text: str) -> str:
    escaped = text.replace("|", "\\|").replace("\n", " ")
    return f"`{escaped}`" if escaped else ""
