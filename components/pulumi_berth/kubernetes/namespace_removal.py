"""The end of a stack's namespace: checks before the first deletion, and the deletion itself.

The engine deletes the objects of a stack one by one, and the namespace at the end. Deleting a
namespace deletes everything in it, so Berth deletes it only after it has seen that nothing of
someone else is left. `pulumi destroy` does the same as `berth destroy`, because both run the
functions of this module in the providers of the stack's own resources.
"""

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from pulumi_berth.kubernetes.cluster_access import (
    UNREACHABLE,
    ClusterAccess,
    find_object,
    list_every_kind,
    send_json,
)
from pulumi_berth.kubernetes.objects import PART_OF, TLS_NAME
from pulumi_berth.kubernetes.ownership import (
    OWNER,
    Claim,
    ExistingObject,
    describe_objects,
    find_removal_conflicts,
    get_owner,
    is_created_by_kubernetes,
    read_namespace,
)

_GONE_SECONDS, _POLL_SECONDS = 300.0, 1.0
# The Kubernetes provider has the same setting for its own resources:
# https://www.pulumi.com/registry/packages/kubernetes/installation-configuration/
_LEAVE_UNREACHABLE = "PULUMI_K8S_DELETE_UNREACHABLE"
# Kubernetes, its controllers and elected leaders write these for the other objects.
_DERIVED_KINDS = {"Event", "Endpoints", "EndpointSlice", "Lease"}
# cert-manager writes the Secret of a Certificate, and keeps it:
# https://cert-manager.io/docs/usage/certificate/#cleaning-up-secrets-when-certificates-are-deleted
_CERTIFICATE = "cert-manager.io/certificate-name"


class NamespaceRemovalError(RuntimeError):
    """A namespace, or the objects in it, cannot be deleted. The message says how to proceed."""


def require_removable(claim: Claim, access: ClusterAccess) -> None:
    """Check, before anything is deleted, that the stack's objects still belong to the stack.

    An unreachable cluster is left to the Kubernetes provider.

    Raises:
        NamespaceRemovalError: If they belong to someone else, or if that is unknown.
    """
    try:
        existing = read_namespace(access.create_client(), claim.namespace)
    except UNREACHABLE:
        return
    except Exception as error:
        raise _build_error(claim.namespace, access, "check who owns", error) from error
    if problems := list(find_removal_conflicts(claim, existing)):
        raise NamespaceRemovalError(f"{' '.join(problems)} Nothing of the namespace was deleted.")


def remove_namespace(claim: Claim, access: ClusterAccess) -> str | None:
    """Delete the stack's namespace after its objects, unless something of someone else is in it.

    Wait until the namespace no longer exists, for at most 5 minutes.

    Returns:
        Why the namespace was kept, or None if it no longer exists.

    Raises:
        NamespaceRemovalError: If it is unknown what is in the namespace, or if it does not end.
    """
    name = claim.namespace
    try:
        client = access.create_client()
        namespace = find_object(client, f"/api/v1/namespaces/{name}")
        if namespace is None:
            return None
        metadata = namespace["metadata"]
        if get_owner(metadata) != claim.owner:
            return f"Namespace '{name}' was kept, because it no longer belongs to this stack."
        if "deletionTimestamp" not in metadata:
            if others := list(_find_others(client, claim)):
                _disown(client, name)
                return (
                    f"Namespace '{name}' was kept, because it contains {describe_objects(others)}, "
                    "which this stack did not create. Everything of the stack was deleted. If the "
                    f"rest is not needed, run 'kubectl delete namespace {name}'."
                )
            # The UID protects a namespace that somebody created in the meantime.
            body = {"preconditions": {"uid": metadata["uid"]}}
            send_json(client, "DELETE", f"/api/v1/namespaces/{name}", body)
        _wait_until_gone(client, name, metadata["uid"])
    except NamespaceRemovalError:
        raise
    except UNREACHABLE as error:
        if os.environ.get(_LEAVE_UNREACHABLE, "").lower() == "true":
            return f"Namespace '{name}' was left, because its cluster cannot be reached."
        raise _build_error(name, access, "delete", error) from error
    except Exception as error:
        raise _build_error(name, access, "check what is in", error) from error
    return None


def _find_others(client: Any, claim: Claim) -> Iterator[ExistingObject]:
    """Yield the objects in the stack's namespace that are neither the stack's nor derived."""
    found = [*list_every_kind(client, claim.namespace)]
    namespaced = {(group, kind) for group, kind, _ in found}
    for group, kind, objects in found:
        if kind in _DERIVED_KINDS:
            continue
        for metadata in objects:
            owner = get_owner(metadata)
            name = metadata["name"]
            if (
                (owner is None or owner != claim.owner)
                and not _is_kept_by_controller(kind, metadata)
                and not is_created_by_kubernetes(group, kind, name)
                and not _is_derived(metadata, namespaced)
            ):
                yield ExistingObject(kind=kind, name=name, owner=owner)


def _is_kept_by_controller(kind: str, metadata: Mapping[str, Any]) -> bool:
    """Return whether a controller created the object for the stack, and keeps it: the volume of
    the limits, or the Secret of the stack's certificate."""
    if kind == "PersistentVolumeClaim":
        return (metadata.get("labels") or {}).get("app.kubernetes.io/part-of") == PART_OF
    annotations = metadata.get("annotations") or {}
    return kind == "Secret" and annotations.get(_CERTIFICATE) == TLS_NAME


def _is_derived(metadata: Mapping[str, Any], namespaced: set[tuple[str, str]]) -> bool:
    """Return whether another object in the namespace owns this one, and ends it."""
    return any(
        (_get_group(reference["apiVersion"]), reference["kind"]) in namespaced
        for reference in metadata.get("ownerReferences") or ()
    )


def _get_group(version: str) -> str:
    return version.rpartition("/")[0]


def _disown(client: Any, name: str) -> None:
    """Remove the owner's annotation, so that the namespace belongs to no stack."""
    patch = {"metadata": {"annotations": {OWNER: None}}}
    send_json(client, "PATCH", f"/api/v1/namespaces/{name}", patch)


def _wait_until_gone(client: Any, name: str, uid: str) -> None:
    deadline = time.monotonic() + _GONE_SECONDS
    while True:
        namespace = find_object(client, f"/api/v1/namespaces/{name}")
        if namespace is None or namespace["metadata"]["uid"] != uid:
            return
        if time.monotonic() > deadline:
            conditions = (namespace.get("status") or {}).get("conditions") or ()
            reasons = [one["message"] for one in conditions if one.get("status") == "True"]
            raise NamespaceRemovalError(
                f"Namespace '{name}' still exists {_GONE_SECONDS:g} s after its deletion: "
                f"{' '.join(reasons)[:500] or 'the cluster reports no reason'}. Remove what keeps "
                "it, then run destroy again."
            )
        time.sleep(_POLL_SECONDS)


def _build_error(
    namespace: str, access: ClusterAccess, action: str, error: Exception
) -> NamespaceRemovalError:
    reason = (" ".join(str(error).split())[:300] or type(error).__name__).rstrip(".")
    source = f"kubeconfig '{access.kubeconfig}'" if access.kubeconfig else "the current kubeconfig"
    return NamespaceRemovalError(
        f"Could not {action} namespace '{namespace}' with {source}: {reason}. Check the connection "
        "to the cluster and the user's permissions, then run destroy again. If the cluster no "
        f"longer exists, set {_LEAVE_UNREACHABLE}=true."
    )
