"""Objects that something other than the stack changed or deleted, without the engine.

The state has each object as the API server returned it after the last update. What differs from it
now is drift, except what other programs write by design: the status, the replicas that an
autoscaler sets, and the credentials that some clusters add to service accounts. The values of
Secrets are not read: their resource version changes with each write.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from berth.errors import OperationError
from berth.platforms.kubernetes.cluster import ClusterAccess
from berth.platforms.platform import HIDDEN
from pulumi_berth.kubernetes.cluster_access import METADATA, get_json

_AUTOSCALER = "HorizontalPodAutoscaler"
_IN_NAMESPACE = {
    ("v1", "ConfigMap"): "configmaps",
    ("v1", "Secret"): "secrets",
    ("v1", "Service"): "services",
    ("v1", "ServiceAccount"): "serviceaccounts",
    ("apps/v1", "Deployment"): "deployments",
    ("apps/v1", "StatefulSet"): "statefulsets",
    ("autoscaling/v2", _AUTOSCALER): "horizontalpodautoscalers",
    ("cert-manager.io/v1", "Certificate"): "certificates",
    ("gateway.networking.k8s.io/v1", "Gateway"): "gateways",
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): "httproutes",
    ("monitoring.coreos.com/v1", "PodMonitor"): "podmonitors",
    ("networking.k8s.io/v1", "NetworkPolicy"): "networkpolicies",
    ("policy/v1", "PodDisruptionBudget"): "poddisruptionbudgets",
    ("rbac.authorization.k8s.io/v1", "Role"): "roles",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "rolebindings",
    ("traefik.io/v1alpha1", "Middleware"): "middlewares",
    ("traefik.io/v1alpha1", "TraefikService"): "traefikservices",
}
_IN_CLUSTER = {
    ("v1", "Namespace"): "namespaces",
    ("gateway.networking.k8s.io/v1", "GatewayClass"): "gatewayclasses",
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): "clusterroles",
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): "clusterrolebindings",
    ("scheduling.k8s.io/v1", "PriorityClass"): "priorityclasses",
}
# The last two are the credentials of a ServiceAccount, which some clusters add.
_WRITTEN_BY_OTHERS = {
    *("apiVersion", "kind", "metadata", "status"),
    *("secrets", "imagePullSecrets"),
}
_FORBIDDEN, _NOT_FOUND = 403, 404
_SHOWN = 3


@dataclass
class _Expected:
    """Objects of one kind in one namespace, or in the whole cluster, by name."""

    collection: str
    is_secret: bool
    objects: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def find_changed_objects(
    access: ClusterAccess, resources: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Yield one line for each object that differs from the state.

    Args:
        resources: Type, ID and outputs of each resource in the state.

    Raises:
        OperationError: If the cluster does not respond, or rejects a request.
    """
    expected = _group_objects(resources)
    if not expected:
        return
    scaled = set(find_scaled_deployments(resources))
    client = access.create_client()
    for (kind, namespace), entry in expected.items():
        actual = _read_objects(client, entry)
        if actual is None:
            continue
        for name, recorded in entry.objects.items():
            if name not in actual:
                yield f"{kind} {name} no longer exists"
            elif entry.is_secret:
                if _is_rewritten(recorded, actual[name]):
                    yield f"{kind} {name} was changed"
            elif paths := _compare(recorded, actual[name], is_scaled=(namespace, name) in scaled):
                more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
                yield f"{kind} {name} was changed: {', '.join(paths[:_SHOWN])}{more}"


def _compare(
    recorded: Mapping[str, Any], actual: Mapping[str, Any], *, is_scaled: bool
) -> list[str]:
    """Return the paths that differ.

    Args:
        is_scaled: Whether the object is what an autoscaler scales.
    """
    return list(
        _find_differences(
            _select_content(recorded, is_scaled=is_scaled),
            _select_content(actual, is_scaled=is_scaled),
        )
    )


def _group_objects(resources: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], _Expected]:
    expected: dict[tuple[str, str], _Expected] = {}
    for resource in resources:
        outputs = resource["outputs"]
        version, kind = str(outputs.get("apiVersion")), str(outputs.get("kind"))
        metadata = outputs.get("metadata")
        if not isinstance(metadata, dict) or str(resource.get("type", "")).endswith("Patch"):
            continue
        group = f"/apis/{version}" if "/" in version else f"/api/{version}"
        namespace = str(metadata.get("namespace", ""))
        if plural := _IN_NAMESPACE.get((version, kind)):
            collection = f"{group}/namespaces/{namespace}/{plural}"
        elif plural := _IN_CLUSTER.get((version, kind)):
            collection, namespace = f"{group}/{plural}", ""
        else:
            continue
        entry = expected.setdefault((kind, namespace), _Expected(collection, kind == "Secret"))
        entry.objects[str(metadata["name"])] = outputs
    return expected


def find_scaled_deployments(
    resources: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, str]]:
    """Yield namespace and name of the Deployments whose replicas an autoscaler sets."""
    for resource in resources:
        outputs = resource["outputs"]
        if outputs.get("kind") == _AUTOSCALER and isinstance(outputs.get("spec"), dict):
            target = outputs["spec"]["scaleTargetRef"]["name"]
            yield str(outputs["metadata"].get("namespace", "")), str(target)


def _read_objects(client: Any, entry: _Expected) -> dict[str, Mapping[str, Any]] | None:
    """Return the objects in the cluster by name, or None if the user may not read this kind.

    Of Secrets, it reads only the metadata.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    accept = METADATA if entry.is_secret else "application/json"
    is_list = "/namespaces/" in entry.collection
    paths = [entry.collection] if is_list else [f"{entry.collection}/{x}" for x in entry.objects]
    found: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        try:
            content = get_json(client, path, accept=accept)
        except ApiException as error:
            if error.status == _NOT_FOUND:
                continue
            # To read these needs more than the permission to see what a stack runs.
            if error.status == _FORBIDDEN and (entry.is_secret or not is_list):
                return None
            raise OperationError(
                f"The cluster rejected a request for {path}: {error.status} {error.reason}. Check "
                "the permissions of the kubeconfig's user."
            ) from error
        except HTTPError as error:
            raise OperationError(
                f"The cluster did not respond to a request for {path}: {error}."
            ) from error
        for item in content["items"] if is_list else [content]:
            found[item["metadata"]["name"]] = item
    return found


def _is_rewritten(recorded: Mapping[str, Any], actual: Mapping[str, Any]) -> bool:
    """Return whether anybody wrote the object since the last update."""
    version = recorded["metadata"].get("resourceVersion")
    return version is not None and version != actual["metadata"].get("resourceVersion")


def _select_content(content: Mapping[str, Any], *, is_scaled: bool) -> dict[str, Any]:
    """Return what only the stack writes, with the labels, by which policies select pods."""
    selected = {
        key: value
        for key, value in content.items()
        if key not in _WRITTEN_BY_OTHERS and not key.startswith("__")
    }
    if is_scaled and isinstance(selected.get("spec"), dict):
        selected["spec"] = {k: v for k, v in selected["spec"].items() if k != "replicas"}
    return {**selected, "labels": content["metadata"].get("labels") or {}}


def _find_differences(recorded: Any, actual: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of the values that differ. A value that the state hides is not compared."""
    if recorded == HIDDEN:
        return
    if isinstance(recorded, dict) and isinstance(actual, dict):
        for key in sorted({*recorded, *actual}):
            inner = f"{path}.{key}" if path else key
            yield from _find_differences(recorded.get(key), actual.get(key), inner)
    elif isinstance(recorded, list) and isinstance(actual, list) and len(recorded) == len(actual):
        for index, (one, other) in enumerate(zip(recorded, actual, strict=True)):
            yield from _find_differences(one, other, f"{path}[{index}]")
    elif recorded != actual:
        yield path
