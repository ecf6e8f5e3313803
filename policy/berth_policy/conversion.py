"""Conversion of the engine's resources into the plain data that rules check."""

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_policy import PolicyResource, ResourceValidationArgs
from pulumi_policy.proxy import UnknownValueError

from berth_policy.rule import UNKNOWN, Resource


def convert_resource(args: ResourceValidationArgs) -> Resource:
    """Convert one resource before the engine creates it."""
    return Resource(
        type=args.resource_type,
        name=args.name,
        urn=args.urn,
        props=_convert(args.props),
        protect=args.opts.protect,
    )


def is_excluded(kind: str, props: Mapping[str, Any]) -> bool:
    """Return whether an update skips a Kubernetes object.

    Berth excludes the objects of an unreachable site (`--exclude`). The engine shows such objects
    without their inputs. A resource with any input is not one of them: a Helm Release, for
    example, has no `kind`.
    """
    return kind.startswith("kubernetes:") and all(key.startswith("__") for key in props)


def convert_stack(resources: Sequence[PolicyResource]) -> list[Resource]:
    """Convert all declared resources of a stack."""
    return [
        Resource(
            type=resource.resource_type,
            name=resource.name,
            urn=resource.urn,
            props=_convert(resource.props),
            protect=resource.opts.protect,
            references={
                key: frozenset(one.urn for one in others)
                for key, others in resource.property_dependencies.items()
            },
        )
        for resource in resources
        if not is_excluded(resource.resource_type, resource.props)
    ]


def _convert(value: Any) -> Any:
    """Return dictionaries and lists, with `UNKNOWN` for values that the engine does not know."""
    if isinstance(value, Mapping):
        return {key: _convert_item(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_convert_item(value, index) for index in range(len(value))]
    return value


def _convert_item(container: Any, key: Any) -> Any:
    try:
        value = container[key]
    except UnknownValueError:
        return UNKNOWN
    return _convert(value)
