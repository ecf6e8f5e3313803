"""Objects that something other than the stack changed or deleted, without the engine.

The API server increments `metadata.generation` when somebody changes an object's specification, and
the state has the number that the last update left. This takes one request for each kind. The kinds
below decide who reaches what, and nothing but the stack writes their specification. The engine
compares the others, such as Deployments, whose replicas an autoscaler changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from berth.errors import OperationError
from berth.platforms.kubernetes.cluster import ClusterAccess

_TIMEOUT_SECONDS = 10.0
_PLURALS = {
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): "httproutes",
    ("gateway.networking.k8s.io/v1", "Gateway"): "gateways",
    ("traefik.io/v1alpha1", "Middleware"): "middlewares",
    ("networking.k8s.io/v1", "NetworkPolicy"): "networkpolicies",
}
_NOT_FOUND = 404


def find_changed_objects(
    access: ClusterAccess, resources: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Yield one line for each object that differs from the state.

    Args:
        resources: Type, ID and outputs of each resource in the state.
    """
    expected: dict[tuple[str, str, str], dict[str, int]] = {}
    for resource in resources:
        outputs = resource["outputs"]
        version, kind = str(outputs.get("apiVersion")), str(outputs.get("kind"))
        metadata = outputs.get("metadata")
        if (version, kind) in _PLURALS and isinstance(metadata, dict):
            objects = expected.setdefault((version, kind, str(metadata.get("namespace"))), {})
            objects[str(metadata["name"])] = int(metadata.get("generation", 0))
    if not expected:
        return
    client = access.create_client()
    for (version, kind, namespace), objects in expected.items():
        path = f"/apis/{version}/namespaces/{namespace}/{_PLURALS[version, kind]}"
        actual = _list_generations(client, path)
        for name, generation in objects.items():
            if name not in actual:
                yield f"{kind} {name} no longer exists"
            elif generation and actual[name] != generation:
                yield f"{kind} {name} was changed"


def _list_generations(client: Any, path: str) -> dict[str, int]:
    """Return the generation of each object by name."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        content = client.call_api(
            path,
            "GET",
            auth_settings=["BearerToken"],
            response_type="object",
            _request_timeout=_TIMEOUT_SECONDS,
            _return_http_data_only=True,
        )
    except ApiException as error:
        if error.status == _NOT_FOUND:
            return {}
        raise OperationError(
            f"The cluster rejected a request for {path}: {error.status} {error.reason}. Check the "
            "permissions of the kubeconfig's user."
        ) from error
    except HTTPError as error:
        raise OperationError(
            f"The cluster did not respond to a request for {path}: {error}."
        ) from error
    return {
        item["metadata"]["name"]: int(item["metadata"].get("generation", 0))
        for item in content["items"]
    }
