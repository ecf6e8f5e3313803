"""The first and the last resource of a namespace: its claim, and the guard of its removal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.kubernetes.cluster_access import (
    UNREACHABLE,
    ClusterAccess,
    ClusterAccessError,
)
from pulumi_berth.kubernetes.ownership import (
    Claim,
    build_owner,
    describe_failed_check,
    find_conflicts,
    read_namespace,
)
from pulumi_berth.providers import NamespaceClaimProvider, NamespaceGuardProvider

_COMPARED = ("project", "stack", "namespace", "adopt", "has_access", "owner_id")
_PLACE = ("kubeconfig", "context")


class NamespaceClaim(Resource, module="berth", name="NamespaceClaim"):
    """A stack's claim to a namespace, with the ID that identifies the stack's objects.

    The engine checks it in every preview and update, before it changes anything: if the namespace
    or an object in it belongs to someone else, the operation fails.

    Every object in the namespace depends on it, so the engine deletes it last. If the claim has
    access to the cluster, it deletes the namespace that the stack created, unless something of
    someone else is in it.

    Attributes:
        owner_id: ID of the owner: 12 hexadecimal digits, generated once.
        owner: Annotation of the owner's objects, `project/stack/id`.
    """

    owner_id: pulumi.Output[str]
    owner: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        namespace: str,
        adopt: bool,
        names: list[str],
        access: ClusterAccess | None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = _build_inputs(namespace, names, access, adopt=adopt)
        super().__init__(
            NamespaceClaimProvider(), name, {**inputs, "owner_id": None, "owner": None}, opts
        )


class NamespaceGuard(Resource, module="berth", name="NamespaceGuard"):
    """The check, before the stack's objects are deleted, that they belong to the stack.

    It depends on every object, so the engine deletes it first: in `destroy`, and after the stack
    got another namespace. If the check fails, no object is deleted.
    """

    def __init__(
        self,
        name: str,
        *,
        namespace: str,
        adopt: bool,
        names: list[str],
        owner_id: pulumi.Input[str],
        access: ClusterAccess | None,
        guarded: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = _build_inputs(namespace, names, access, adopt=adopt)
        after = pulumi.ResourceOptions(depends_on=list(guarded))
        super().__init__(
            NamespaceGuardProvider(),
            name,
            {**inputs, "owner_id": owner_id},
            pulumi.ResourceOptions.merge(opts, after),
        )


def _build_inputs(
    namespace: str, names: list[str], access: ClusterAccess | None, *, adopt: bool
) -> dict[str, Any]:
    """Return what a claim and a guard have in common. `build_claim` reads it, with the ID."""
    return {
        "project": pulumi.get_project(),
        "stack": pulumi.get_stack(),
        "namespace": namespace,
        "adopt": adopt,
        "names": names,
        "has_access": access is not None,
        "kubeconfig": access.kubeconfig if access is not None else None,
        "context": access.context if access is not None else None,
    }


def build_access(inputs: dict[str, Any]) -> ClusterAccess | None:
    """Return the access to the cluster in the inputs of a claim or a guard, if there is one."""
    if not inputs.get("has_access"):
        return None
    return ClusterAccess(kubeconfig=inputs.get("kubeconfig"), context=inputs.get("context"))


def find_changes(olds: dict[str, Any], news: dict[str, Any]) -> list[str]:
    """Return the inputs of a claim or a guard whose change is an update.

    The kubeconfig's path may differ between machines. It is updated where the recorded path does
    not exist, because `destroy` needs it. The names of the objects change with the models, and
    `destroy` needs those of the last update.
    """
    recorded = olds.get("kubeconfig")
    compared = _COMPARED if recorded is None or Path(recorded).exists() else (*_COMPARED, *_PLACE)
    return [key for key in compared if olds.get(key) != news.get(key)]


def build_claim(inputs: dict[str, Any]) -> Claim:
    """Return the claim that the inputs of a `NamespaceClaim` describe."""
    return Claim(
        project=inputs["project"],
        stack=inputs["stack"],
        owner_id=inputs.get("owner_id"),
        namespace=inputs["namespace"],
        adopt=inputs["adopt"],
        names=frozenset(inputs["names"]),
    )


def find_problems(olds: dict[str, Any], news: dict[str, Any]) -> list[str]:
    """Return why the stack may not use the namespace. Without access to the cluster, only some
    problems can be found.

    Args:
        olds: Inputs in the state, with the owner's ID. Empty before the first update.
        news: Inputs of the program.
    """
    namespace = news["namespace"]
    if olds.get("namespace") == namespace and olds["adopt"] != news["adopt"]:
        change = "was adopted" if olds["adopt"] else "was created by this stack"
        value = "true" if olds["adopt"] else "false"
        return [
            f"Namespace '{namespace}' {change}, so adopt_namespace must stay {value}. To change "
            "it, choose another namespace, or destroy the stack first."
        ]
    claim = build_claim({**news, "owner_id": olds.get("owner_id")})
    access = build_access(news)
    if access is None:
        return [] if claim.adopt else list(find_conflicts(claim, None))
    try:
        existing = read_namespace(access.create_client(), namespace)
    except ClusterAccessError:
        return []  # The Kubernetes provider reports the invalid kubeconfig.
    except UNREACHABLE:
        # An update may leave out an unreachable cluster. Otherwise, the Kubernetes provider reports
        # the reason for the first object in it, and nothing is changed.
        return []
    except Exception as error:
        return [describe_failed_check(namespace, error)]
    return list(find_conflicts(claim, existing))


def create_owner(inputs: dict[str, Any]) -> dict[str, str]:
    """Return the outputs of a claim whose ID is known."""
    owner_id = inputs["owner_id"]
    return {
        "owner_id": owner_id,
        "owner": build_owner(inputs["project"], inputs["stack"], owner_id),
    }
