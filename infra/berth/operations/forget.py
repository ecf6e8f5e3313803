"""Resources that leave a stack's state without being deleted, because nothing can reach them."""

import copy
from collections.abc import Set as AbstractSet
from typing import Any

from berth.errors import OperationError


def forget_resources(exported: dict[str, Any], urns: AbstractSet[str]) -> dict[str, Any]:
    """Return an exported state without some resources, and without references to them.

    Args:
        exported: Output of `pulumi stack export`.
        urns: URNs of the resources. Their children must be among them.

    Raises:
        OperationError: If a resource that stays is a child of one of them, or uses its provider.
    """
    result = copy.deepcopy(exported)
    deployment = result["deployment"]
    kept = [each for each in deployment.get("resources") or () if each["urn"] not in urns]
    for resource in kept:
        _remove_references(resource, urns)
    deployment["resources"] = kept
    if pending := deployment.get("pending_operations"):
        deployment["pending_operations"] = [
            each for each in pending if each["resource"]["urn"] not in urns
        ]
    return result


def _remove_references(resource: dict[str, Any], urns: AbstractSet[str]) -> None:
    provider = str(resource.get("provider", "")).rpartition("::")[0]
    for needed in (resource.get("parent"), provider):
        if needed in urns:
            raise OperationError(
                f"Cannot forget {needed}, because {resource['urn']} needs it. Nothing was changed."
            )
    if "dependencies" in resource:
        resource["dependencies"] = _without(resource["dependencies"], urns)
    for name, used in (resource.get("propertyDependencies") or {}).items():
        resource["propertyDependencies"][name] = _without(used or (), urns)
    if resource.get("deletedWith") in urns:
        del resource["deletedWith"]


def _without(used: Any, urns: AbstractSet[str]) -> list[str]:
    return [urn for urn in used if urn not in urns]
