"""Rules of the security baseline, and the resources that they check."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["mandatory", "advisory"]
Severity = Literal["critical", "high", "medium", "low"]


class Unknown:
    """A value that is not known before another resource is deployed.

    An unknown value breaks no rule. The update checks it again before it creates the resource.
    """

    def __repr__(self) -> str:
        return "(unknown)"


UNKNOWN = Unknown()


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A declared resource, as plain data.

    Attributes:
        type: Pulumi's type token.
        name: Logical name.
        urn: URN of the resource.
        props: Inputs. `UNKNOWN` replaces values that are not known yet.
        protect: Pulumi refuses to delete the resource.
        references: Property -> URNs of the resources that its value comes from.
    """

    type: str
    name: str
    urn: str
    props: Mapping[str, Any]
    protect: bool = False
    references: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def get(self, path: str, default: Any = None) -> Any:
        """Return the value at a path such as `spec.template`.

        If a value on the path is unknown, the result is `UNKNOWN`.
        """
        value: Any = self.props
        for key in path.split("."):
            if value is UNKNOWN:
                return UNKNOWN
            if isinstance(value, Sequence) and not isinstance(value, str):
                value = value[0] if value else None  # the AWS provider wraps single blocks in lists
            value = value.get(key) if isinstance(value, Mapping) else None
        return default if value is None else value


@dataclass(frozen=True, kw_only=True)
class Stack:
    """All resources of a stack.

    Attributes:
        resources: Declared resources.
        protect: Value of `berth:protect`: resources with data must refuse deletion.
    """

    resources: Sequence[Resource] = ()
    protect: bool = False

    def of_type(self, *types: str) -> Iterator[Resource]:
        """Return the resources of these types."""
        return (resource for resource in self.resources if resource.type in types)

    def related(self, target: Resource, kind: str, key: str) -> list[Resource]:
        """Return the resources of type `kind` whose property `key` refers to `target`."""
        names = {target.get(name) for name in ("id", "arn", "bucket", "name")} - {None}
        return [
            resource
            for resource in self.of_type(kind)
            if target.urn in resource.references.get(key, ())
            or _text_or_none(resource.get(key)) in names
        ]


def _text_or_none(value: Any) -> Any:
    return value if isinstance(value, str) else None


Check = Callable[[Resource, Stack], Iterable[str]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule of the security baseline.

    Attributes:
        id: Name in messages and exceptions.
        severity: Impact of a violation.
        level: Enforcement level: mandatory blocks the update, advisory only warns.
        types: Types of the resources that the rule checks.
        needs_stack: The rule also reads other resources, so it runs after all are declared.
        description: Required state, in one sentence.
        remedy: Change that fixes a violation.
        check: Return a message for each violation of a resource, without a final period.
    """

    id: str
    severity: Severity
    level: Level = "mandatory"
    types: tuple[str, ...]
    needs_stack: bool = False
    description: str
    remedy: str
    check: Check


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A rule that a resource breaks, and a message that says how."""

    rule: Rule
    resource: Resource
    message: str


def find_violations(
    rules: Iterable[Rule], resources: Iterable[Resource], stack: Stack
) -> Iterator[Violation]:
    """Check resources of a stack with rules."""
    by_type: dict[str, list[Rule]] = {}
    for rule in rules:
        for kind in rule.types:
            by_type.setdefault(kind, []).append(rule)
    for resource in resources:
        for rule in by_type.get(resource.type, ()):
            for message in rule.check(resource, stack):
                yield Violation(rule=rule, resource=resource, message=message)


def require_one_of(path: str, *allowed: Any) -> Check:
    """Return a check that the value at `path` is one of `allowed`."""

    def check(resource: Resource, _: Stack) -> Iterator[str]:
        value = resource.get(path)
        if value is not UNKNOWN and value not in allowed:
            yield f"{path} is {value!r}"

    return check


def require_value(path: str) -> Check:
    """Return a check that `path` has a value."""

    def check(resource: Resource, _: Stack) -> Iterator[str]:
        if resource.get(path) in (None, "", [], {}):
            yield f"{path} is missing"

    return check
