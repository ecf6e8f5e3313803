"""Deployments whose fixed number of replicas an autoscaler changed until it was deleted.

The engine deletes at the end of an update. If a range of replicas becomes a fixed number, the
Deployment therefore gets that number while its autoscaler still exists. The autoscaler then sets
the number that it wants, which is left when it is deleted.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from berth.platforms.kubernetes.changed_objects import find_scaled_deployments
from berth.platforms.kubernetes.cluster import ClusterAccess
from pulumi_berth.kubernetes.cluster_access import get_json, send_json


def restore_fixed_replicas(
    access: ClusterAccess, resources: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Set the recorded number of replicas where the cluster has another. Yield a line for each.

    Args:
        resources: Type, ID and outputs of each resource in the state after the update.
    """
    fixed = _find_fixed_numbers(resources)
    if not fixed:
        return
    client = access.create_client()
    for namespace, numbers in fixed.items():
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        for deployment in get_json(client, path)["items"]:
            name, actual = deployment["metadata"]["name"], deployment["spec"]["replicas"]
            wanted = numbers.get(name, actual)
            if wanted != actual:
                # The resource version prevents a change of what somebody else wrote since.
                version = deployment["metadata"]["resourceVersion"]
                body = {"metadata": {"resourceVersion": version}, "spec": {"replicas": wanted}}
                send_json(client, "PATCH", f"{path}/{name}", body)
                yield (f"Deployment {name}: its autoscaler left {actual} replicas; set to {wanted}")


def _find_fixed_numbers(resources: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Return the declared number of each Deployment without an autoscaler, by namespace and name.

    The outputs may have the autoscaler's number already, so the inputs that the Kubernetes provider
    keeps next to them decide.
    """
    scaled = set(find_scaled_deployments(resources))
    fixed: dict[str, dict[str, int]] = {}
    for resource in resources:
        match resource["outputs"]:
            case {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": str(name), "namespace": str(namespace)},
                "__inputs": {"spec": {"replicas": int() | float() as replicas}},
            } if (namespace, name) not in scaled:
                fixed.setdefault(namespace, {})[name] = int(replicas)
    return fixed
