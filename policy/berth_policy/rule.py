"""Rule: what is asked of a resource, how much it matters, and what puts it right."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["mandatory", "advisory"]
Severity = Literal["critical", "high", "medium", "low"]


class Unknown:
    """A value that is known once something else is deployed. No rule breaks on one: it is asked
    again in the update, before the resource is made."""

    def __repr__(self) -> str:
        return "(unknown)"


UNKNOWN = Unknown()


@dataclass(frozen=True, kw_only=True)
class Resource:
    """What is declared, with plain values.

    Attributes:
        type: Pulumi's token.
        name: logical.
        urn: of the resource.
        props: its inputs; UNKNOWN stands for what is not known yet.
        protect: whether the engine refuses to delete it.
        refers: property -> URNs of the resources that its value comes from.
    """

    type: str
    name: str
    urn: str
    props: Mapping[str, Any]
    protect: bool = False
    refers: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def at(self, path: str, default: Any = None) -> Any:
        """The value at a path such as `spec.template`; UNKNOWN from the first that is."""
        found: Any = self.props
        for key in path.split("."):
            if found is UNKNOWN:
                return UNKNOWN
            if isinstance(found, Sequence) and not isinstance(found, str):
                found = found[0] if found else None  # AWS's provider has single blocks as lists
            found = found.get(key) if isinstance(found, Mapping) else None
        return default if found is None else found


@dataclass(frozen=True, kw_only=True)
class Stack:
    """All that is declared together.

    Attributes:
        resources: of the stack.
        protect: what the configuration says: whether what holds data refuses to be deleted.
    """

    resources: Sequence[Resource] = ()
    protect: bool = False

    def of(self, *types: str) -> Iterator[Resource]:
        """The resources of these types."""
        return (resource for resource in self.resources if resource.type in types)

    def about(self, target: Resource, kind: str, key: str) -> list[Resource]:
        """The resources of type `kind` whose property `key` is about `target`."""
        names = {target.at(name) for name in ("id", "arn", "bucket", "name")} - {None}
        return [
            resource
            for resource in self.of(kind)
            if target.urn in resource.refers.get(key, ()) or _plain(resource.at(key)) in names
        ]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else None


Check = Callable[[Resource, Stack], Iterable[str]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is asked.

    Attributes:
        id: by which a person finds it, and an exception names it.
        severity: how much is at stake.
        level: whether it stops an update, or is told.
        types: of the resources that it is asked of.
        whole: whether it asks about other resources too: then it is asked once all are declared.
        says: what is asked for, in a sentence.
        remedy: what to change.
        check: what is wrong with a resource, a sentence each.
    """

    id: str
    severity: Severity
    level: Level = "mandatory"
    types: tuple[str, ...]
    whole: bool = False
    says: str
    remedy: str
    check: Check


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A rule that a resource breaks, and how."""

    rule: Rule
    resource: Resource
    found: str


def violations(
    rules: Iterable[Rule], resources: Iterable[Resource], stack: Stack
) -> Iterator[Violation]:
    """What is wrong with `resources`."""
    by_type: dict[str, list[Rule]] = {}
    for rule in rules:
        for kind in rule.types:
            by_type.setdefault(kind, []).append(rule)
    for resource in resources:
        for rule in by_type.get(resource.type, ()):
            for found in rule.check(resource, stack):
                yield Violation(rule=rule, resource=resource, found=found)


def unless(path: str, *right: Any) -> Check:
    """The value at `path` has to be one of `right`."""

    def check(resource: Resource, _: Stack) -> Iterator[str]:
        found = resource.at(path)
        if found is not UNKNOWN and found not in right:
            yield f"{path} is {found!r}"

    return check


def without(path: str) -> Check:
    """There has to be something at `path`."""

    def check(resource: Resource, _: Stack) -> Iterator[str]:
        if resource.at(path) in (None, "", [], {}):
            yield f"{path} is missing"

    return check
