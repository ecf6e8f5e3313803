"""Objects that something other than the stack changed or deleted, without the engine.

The state has each object as the API server returned it after the last update. If it still is the
same, and only the stack wrote it, nothing has changed. Otherwise the API server is asked what the
declaration would result in (see `declared_objects`). What differs from that is drift, except what
other programs write by design: the status, the replicas that an autoscaler sets, and the
credentials that some clusters add to service accounts. The values of Secrets are not read: their
resource version changes with each write.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from berth.errors import OperationError
from berth.platforms.kubernetes.cluster import ClusterAccess
from berth.platforms.kubernetes.declared_objects import (
    find_unmet,
    has_other_writers,
    replace_by_declared,
)
from berth.platforms.platform import HIDDEN
from pulumi_berth.kubernetes.cluster_access import METADATA, get_json
from pulumi_berth.values import join_first

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
    ("monitoring.coreos.com/v1", "PrometheusRule"): "prometheusrules",
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


@dataclass(frozen=True)
class Change:
    """One object that differs from its declaration.

    Attributes:
        path: Its path in the cluster's API.
        inputs: The manifest that the program declared, if the state has it.
        actual: The object in the cluster, or None if it no longer exists.
        is_scaled: Whether the object is what an autoscaler scales.
        fields: Paths of the fields that differ. Of a Secret, they are not known.
    """

    kind: str
    name: str
    path: str
    inputs: Mapping[str, Any]
    actual: Mapping[str, Any] | None
    is_scaled: bool = False
    fields: Sequence[str] = ()

    def __str__(self) -> str:
        if self.actual is None:
            return f"{self.kind} {self.name} no longer exists"
        return f"{self.kind} {self.name} was changed{self.format_fields()}"

    def format_fields(self) -> str:
        """Return the fields after a colon, or nothing if they are not known."""
        return f": {join_first(self.fields, _SHOWN)}" if self.fields else ""


@dataclass
class _Expected:
    """Resources with objects of one kind in one namespace, or in the whole cluster, by name."""

    collection: str
    is_secret: bool
    objects: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def find_changed_objects(
    access: ClusterAccess, resources: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Yield one line for each object that differs from its declaration.

    Args:
        resources: Type, ID, inputs and outputs of each resource in the state.

    Raises:
        OperationError: If the cluster does not respond, or rejects a request.
    """
    if _group_objects(resources):
        yield from map(str, find_changes(access.create_client(), resources))


def find_changes(client: Any, resources: Sequence[Mapping[str, Any]]) -> Iterator[Change]:
    """Yield each object that differs from its declaration.

    Raises:
        OperationError: If the cluster does not respond, or rejects a request.
    """
    scaled = set(find_scaled_deployments(resources))
    for (kind, namespace), entry in _group_objects(resources).items():
        actual = _read_objects(client, entry)
        if actual is None:
            continue
        for name, resource in entry.objects.items():
            change = Change(
                kind, name, f"{entry.collection}/{name}", resource.get("inputs") or {},
                actual.get(name), (namespace, name) in scaled,
            )  # fmt: skip
            if change.actual is None:
                yield change
            elif entry.is_secret:
                if _is_rewritten(resource["outputs"], change.actual):
                    yield change
            elif fields := _find_changed_fields(client, change, resource["outputs"]):
                yield replace(change, fields=fields)


def _find_changed_fields(client: Any, change: Change, recorded: Mapping[str, Any]) -> list[str]:
    actual, inputs = change.actual or {}, change.inputs
    select = partial(
        _select_content,
        is_scaled=change.is_scaled,
        metadata=inputs["metadata"] if inputs else {"labels": recorded["metadata"].get("labels")},
    )
    fields = list(_find_differences(select(recorded), select(actual)))
    is_clean = not has_other_writers(recorded)
    if not inputs:
        return fields
    unmet = set(find_unmet(select(inputs), select(actual)))
    if not fields and not unmet and is_clean:
        return []
    expected = _ask_declared(client, change)
    if expected is not None:
        return list(_find_differences(select(expected), select(actual)))
    # Without an answer of the API server, the representation that the cluster stores, such as
    # "500m" for "0.5", is known only from the state.
    unmet -= set(find_unmet(select(inputs), select(recorded)))
    return sorted({*unmet, *(fields if is_clean else ())})


def _ask_declared(client: Any, change: Change) -> Mapping[str, Any] | None:
    """Return the object as the cluster would store its declaration, or None if it does not tell.

    It does not tell a user who may not change the object, nor if a field cannot be changed.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return replace_by_declared(
            client, change.path, change.inputs, change.actual or {},
            is_scaled=change.is_scaled, is_dry_run=True,
        )  # fmt: skip
    except ApiException:
        return None
    except HTTPError as error:
        raise OperationError(
            f"The cluster did not respond to a request for {change.path}: {error}."
        ) from error


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
        entry.objects[str(metadata["name"])] = resource
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


def _select_content(
    content: Mapping[str, Any], *, is_scaled: bool, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what only the stack writes.

    Args:
        is_scaled: Whether the object is what an autoscaler scales.
        metadata: The labels, by which policies select, and annotations that the stack declares.
            Others belong to other programs.
    """
    selected = {
        key: value
        for key, value in content.items()
        if key not in _WRITTEN_BY_OTHERS and not key.startswith("__")
    }
    if is_scaled and isinstance(selected.get("spec"), dict):
        selected["spec"] = {k: v for k, v in selected["spec"].items() if k != "replicas"}
    for part in ("labels", "annotations"):
        existing = content["metadata"].get(part) or {}
        selected[part] = {k: existing[k] for k in metadata.get(part) or () if k in existing}
    return selected


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
