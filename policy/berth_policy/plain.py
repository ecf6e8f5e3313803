"""What the engine shows a policy, as the plain data that rules are asked of."""

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_policy import PolicyResource, ResourceValidationArgs
from pulumi_policy.proxy import UnknownValueError

from berth_policy.rule import UNKNOWN, Resource


def plain_resource(args: ResourceValidationArgs) -> Resource:
    """One resource before it is made."""
    return Resource(
        type=args.resource_type,
        name=args.name,
        urn=args.urn,
        props=_plain(args.props),
        protect=args.opts.protect,
    )


def is_left_out(kind: str, props: Mapping[str, Any]) -> bool:
    """Whether an update leaves a Kubernetes object as it is (`--exclude`, as for a site that does
    not answer): the engine shows it without what it declares."""
    return kind.startswith("kubernetes:") and "kind" not in props


def plain_resources(resources: Sequence[PolicyResource]) -> list[Resource]:
    """All resources of a stack that are declared."""
    return [
        Resource(
            type=resource.resource_type,
            name=resource.name,
            urn=resource.urn,
            props=_plain(resource.props),
            protect=resource.opts.protect,
            refers={
                key: frozenset(one.urn for one in others)
                for key, others in resource.property_dependencies.items()
            },
        )
        for resource in resources
        if not is_left_out(resource.resource_type, resource.props)
    ]


def _plain(value: Any) -> Any:
    """`value` as dictionaries and lists, UNKNOWN where the engine does not know yet."""
    if isinstance(value, Mapping):
        return {key: _item(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_item(value, index) for index in range(len(value))]
    return value


def _item(container: Any, key: Any) -> Any:
    try:
        found = container[key]
    except UnknownValueError:
        return UNKNOWN
    return _plain(found)
