"""Ownership: which stack a namespace and the objects in it belong to.

Every object of a stack has an annotation that names its project, its stack, and an ID that was
generated into the stack's state. Two people who use the same stack name with separate state have
different IDs.

With server-side apply, the cluster creates an object or adopts the object that has its name. The
checks in this module find the objects of others before the engine applies anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from pulumi_berth.kubernetes.cluster_access import find_object, list_metadata
from pulumi_berth.kubernetes.objects import FORCE_APPLY
from pulumi_berth.values import join_first

OWNER = "berth/owner"
"""Annotation with the owner of an object, `project/stack/id`. As a label, only the ID."""
RESERVED_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
"""Namespaces that every cluster has."""

_SHOWN_OBJECTS = 5
# Objects in a namespace that Kubernetes itself creates.
_CREATED_BY_KUBERNETES = {("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")}
_KINDS = {
    "Deployment": "apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "apis/batch/v1/namespaces/{}/cronjobs",
    "Pod": "api/v1/namespaces/{}/pods",
    "Service": "api/v1/namespaces/{}/services",
    "ServiceAccount": "api/v1/namespaces/{}/serviceaccounts",
    "ConfigMap": "api/v1/namespaces/{}/configmaps",
    "Secret": "api/v1/namespaces/{}/secrets",
    "PersistentVolumeClaim": "api/v1/namespaces/{}/persistentvolumeclaims",
    "NetworkPolicy": "apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "PodDisruptionBudget": "apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "HorizontalPodAutoscaler": "apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "Role": "apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "HTTPRoute": "apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes",
    "Gateway": "apis/gateway.networking.k8s.io/v1/namespaces/{}/gateways",
    "Middleware": "apis/traefik.io/v1alpha1/namespaces/{}/middlewares",
    "TraefikService": "apis/traefik.io/v1alpha1/namespaces/{}/traefikservices",
    "PrometheusRule": "apis/monitoring.coreos.com/v1/namespaces/{}/prometheusrules",
}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A stack's claim to a namespace.

    Attributes:
        project: Pulumi project of the stack.
        stack: Name of the stack.
        owner_id: ID in the stack's state. None before the first update.
        namespace: Name of the namespace.
        adopt: Whether the stack uses a namespace that it did not create, and keeps it.
        names: Names of the objects that the stack creates in the namespace.
    """

    project: str
    stack: str
    owner_id: str | None
    namespace: str
    adopt: bool
    names: frozenset[str] = frozenset()

    @property
    def owner(self) -> str | None:
        """The annotation of the stack's objects. None before the first update."""
        return build_owner(self.project, self.stack, self.owner_id) if self.owner_id else None


@dataclass(frozen=True, kw_only=True)
class ExistingObject:
    """An object in a namespace: its kind, its name and its owner, if it has the annotation."""

    kind: str
    name: str
    owner: str | None


@dataclass(frozen=True, kw_only=True)
class ExistingNamespace:
    """A namespace of a cluster.

    Attributes:
        owner: Owner in the annotation, if there is one.
        is_terminating: Whether the namespace is being deleted.
        objects: Objects in it, without those that Kubernetes and other objects create.
    """

    owner: str | None
    is_terminating: bool
    objects: tuple[ExistingObject, ...]


def build_owner(project: str, stack: str, owner_id: str) -> str:
    """Return the annotation of a stack's objects."""
    return f"{project}/{stack}/{owner_id}"


def get_owner(metadata: Mapping[str, Any]) -> str | None:
    """Return the owner in an object's metadata, if it has the annotation."""
    owner: str | None = (metadata.get("annotations") or {}).get(OWNER)
    return owner


def read_namespace(client: Any, name: str) -> ExistingNamespace | None:
    """Return a namespace of the cluster, or None if it does not exist or may not be read."""
    content = find_object(client, f"/api/v1/namespaces/{name}")
    if content is None:
        return None
    return ExistingNamespace(
        owner=get_owner(content["metadata"]),
        is_terminating="deletionTimestamp" in content["metadata"],
        objects=tuple(
            ExistingObject(kind=kind, name=metadata["name"], owner=get_owner(metadata))
            for kind, path in _KINDS.items()
            for metadata in list_metadata(client, "/" + path.format(name))
            if not metadata.get("ownerReferences")
            and (kind, metadata["name"]) not in _CREATED_BY_KUBERNETES
        ),
    )


def find_reserved_name(namespace: str) -> str | None:
    """Return what is wrong with the name of a namespace that belongs to the cluster itself."""
    if namespace not in RESERVED_NAMESPACES and not namespace.startswith("kube-"):
        return None
    return f"Namespace '{namespace}' belongs to the cluster itself. Choose another namespace."


def find_conflicts(claim: Claim, existing: ExistingNamespace | None) -> Iterator[str]:
    """Yield why a stack may not use a namespace, and how to proceed.

    Args:
        existing: The namespace in the cluster. None if it does not exist.
    """
    if reserved := find_reserved_name(claim.namespace):
        yield reserved
        return
    name = claim.namespace
    if existing is None:
        if claim.adopt:
            yield (
                f"Namespace '{name}' does not exist, but adopt_namespace is true. Create it with "
                f"'kubectl create namespace {name}', or remove adopt_namespace so that Berth "
                "creates it."
            )
    elif existing.is_terminating:
        yield (
            f"Namespace '{name}' is being deleted. Wait until 'kubectl get namespace {name}' does "
            "not find it, then try again."
        )
    elif existing.owner is not None and existing.owner != claim.owner:
        yield _describe_owner(claim, existing.owner)
    elif existing.owner is None and not claim.adopt:
        yield (
            f"Namespace '{name}' exists and was not created by this stack; it contains "
            f"{describe_objects(existing.objects)}. Choose another namespace, or set "
            "adopt_namespace to true. Berth then adds only its own objects, and keeps the "
            "namespace and everything else in it when the stack is destroyed."
        )
    else:
        yield from _find_taken_names(claim, existing)


def describe_failed_check(namespace: str, error: Exception) -> str:
    """Return why the owner of a namespace is unknown. Unknown is not free."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"Could not check who owns namespace '{namespace}': {reason}. Try again."


def find_removal_conflicts(claim: Claim, existing: ExistingNamespace | None) -> Iterator[str]:
    """Yield why a stack may not delete its objects in a namespace, and how to proceed.

    The engine deletes an object by its name, although another owner may have created it since.
    """
    if existing is None:
        return
    if existing.owner not in (None, claim.owner):
        yield _describe_owner(claim, existing.owner or "")
    elif taken := _find_taken(claim, existing):
        yield (
            f"Namespace '{claim.namespace}' contains {describe_objects(taken)}, which this stack "
            "did not create and would delete. Rename them, or delete them yourself; if they are "
            "the stack's and lost their annotation, run 'berth up' first."
        )


def is_created_by_kubernetes(group: str, kind: str, name: str) -> bool:
    """Return whether Kubernetes itself creates this object in each namespace."""
    return not group and (kind, name) in _CREATED_BY_KUBERNETES


def _describe_owner(claim: Claim, owner: str) -> str:
    project, _, rest = owner.partition("/")
    stack, _, owner_id = rest.partition("/")
    name = claim.namespace
    if (project, stack) != (claim.project, claim.stack):
        return (
            f"Namespace '{name}' belongs to stack '{stack}' of project '{project}' (ID {owner_id})."
            " Choose another namespace. If that stack no longer exists, delete the namespace."
        )
    own = f"the state of this stack has ID {claim.owner_id}" if claim.owner_id else "is new here"
    return (
        f"Namespace '{name}' belongs to another stack '{stack}' of project '{project}', whose state"
        f" has ID {owner_id}; {own if claim.owner_id else 'this stack ' + own}. Someone else uses "
        "the same stack name, or the state was lost. Use the same state (PULUMI_BACKEND_URL), "
        "restore it, or choose another namespace."
    )


def _find_taken_names(claim: Claim, existing: ExistingNamespace) -> Iterator[str]:
    if taken := _find_taken(claim, existing):
        yield (
            f"Namespace '{claim.namespace}' already contains {describe_objects(taken)}, which "
            "this stack did not create and would replace. Rename or delete them, or choose another "
            "namespace."
        )


def _find_taken(claim: Claim, existing: ExistingNamespace) -> list[ExistingObject]:
    """Return the objects of others that have the name of one of the stack's objects."""
    return [
        entry
        for entry in existing.objects
        if entry.name in claim.names and (entry.owner is None or entry.owner != claim.owner)
    ]


def describe_objects(objects: Sequence[ExistingObject]) -> str:
    """Return the kinds and names of the first objects, and the number of the others."""
    if not objects:
        return "no objects"
    return join_first([f"{entry.kind} '{entry.name}'" for entry in objects], _SHOWN_OBJECTS)


def mark_objects(owner: pulumi.Input[str], *, restores: bool) -> pulumi.ResourceTransformation:
    """Return a transformation that adds the owner's annotation to every Kubernetes object.

    Another stack that applies an object with the same name without a check then gets a conflict
    from the API server, because two field managers set different values.

    Args:
        restores: Whether an update restores fields that another program changed, such as `kubectl
            edit`. Otherwise it ends at a conflict. Only for objects whose owner was checked.
    """
    added = {OWNER: owner, **(FORCE_APPLY if restores else {})}

    def mark(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        metadata = args.props.get("metadata")
        if not args.type_.startswith("kubernetes:") or not isinstance(metadata, Mapping):
            return None
        annotations = {**(metadata.get("annotations") or {}), **added}
        props = {**args.props, "metadata": {**metadata, "annotations": annotations}}
        return pulumi.ResourceTransformationResult(props=props, opts=args.opts)

    return mark
