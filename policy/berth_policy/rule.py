"""Rules of the security baseline, and the resources that they check."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
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
        own_accounts: AWS accounts of the stack (`aws:allowedAccountIds`). Empty if the
            configuration does not name them.
        trusted_accounts: Other AWS accounts that the configuration names.
    """

    resources: Sequence[Resource] = ()
    protect: bool = False
    own_accounts: frozenset[str] = frozenset()
    trusted_accounts: frozenset[str] = frozenset()

    def of_type(self, *types: str) -> Iterator[Resource]:
        """Return the resources whose type matches one of these patterns."""
        return (resource for resource in self.resources if matches_type(types, resource.type))

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


@lru_cache(maxsize=4096)
def matches_type(patterns: tuple[str, ...], kind: str) -> bool:
    """Return whether the type token matches one of the patterns, in which `*` is any text."""
    return any(fnmatchcase(kind, pattern) for pattern in patterns)


def kubernetes_types(*kinds: str) -> tuple[str, ...]:
    """Return patterns for objects of these kinds, in every API group and version.

    A `CustomResource` names the group in its own way, a `Patch` resource changes an object that
    another program owns, and a `List` resource contains several objects.
    """
    return tuple(f"kubernetes:*:{kind}{form}" for kind in kinds for form in ("", "Patch", "List"))


def kubernetes_objects(resource: Resource) -> Iterator[Mapping[str, Any]]:
    """Return the object, or the objects of a `List` resource."""
    items = resource.get("items") if resource.type.endswith("List") else None
    if isinstance(items, Sequence) and not isinstance(items, str):
        yield from (item for item in items if isinstance(item, Mapping))
    else:
        yield resource.props


def get_mapping(container: Any, key: str) -> Mapping[str, Any]:
    """Return the mapping at `key`, or an empty one if it is missing or unknown."""
    value = container.get(key) if isinstance(container, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def get_list(container: Any, key: str) -> list[Any]:
    """Return the known items of the list at `key`; of a single value, a list with it."""
    value = container.get(key) if isinstance(container, Mapping) else None
    items = value if isinstance(value, list) else [] if value is None else [value]
    return [item for item in items if item is not UNKNOWN]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule of the security baseline.

    Attributes:
        id: Name in messages and exceptions.
        severity: Impact of a violation.
        level: Enforcement level: mandatory blocks the update, advisory only warns.
        types: Type tokens, or patterns of them, of the resources that the rule checks.
        needs_stack: The rule also reads other resources, so it runs after all are declared.
        description: Required state, in one sentence.
        remedy: Change that fixes a violation.
        check: Return a message for each violation of a resource, without a final period.
        allows_exceptions: An exception in the configuration can accept a violation.
    """

    id: str
    severity: Severity
    level: Level = "mandatory"
    types: tuple[str, ...]
    needs_stack: bool = False
    description: str
    remedy: str
    check: Check
    allows_exceptions: bool = True

    def covers(self, kind: str) -> bool:
        """Return whether the rule checks resources of this type."""
        return matches_type(self.types, kind)


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
    rules = list(rules)
    by_type: dict[str, list[Rule]] = {}
    for resource in resources:
        if resource.type not in by_type:
            by_type[resource.type] = [rule for rule in rules if rule.covers(resource.type)]
        for rule in by_type[resource.type]:
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
