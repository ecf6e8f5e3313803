"""What AWS refuses and the emulator accepts, as plain functions.

Each refusal names its source. `strict_emulator` answers with them, so every aws test runs with
them. See `emulator_differences` for the opposite: what the emulator returns differently.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pulumi_berth.aws.eks_versions import read_versions


@dataclass(frozen=True)
class Refusal:
    """An error response of AWS: its code and message."""

    code: str
    message: str
    status: int = 400


def check_principal(arn: str, existing: Iterable[str]) -> Refusal | None:
    """Refuse an access entry for a principal that does not exist.

    https://github.com/terraform-aws-modules/terraform-aws-eks/issues/2969
    """
    if arn in set(existing):
        return None
    return Refusal(
        "InvalidParameterException", f"The specified principalArn is invalid: {arn} does not exist"
    )


def check_version(version: str, today: date) -> Refusal | None:
    """Refuse a Kubernetes version that EKS does not offer.

    https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html
    """
    known = read_versions().get(version)
    if known is not None and today < known.extended_support_ends:
        return None
    return Refusal("InvalidParameterException", f"unsupported Kubernetes version {version}")


def check_upgrade(old: str, new: str, today: date) -> Refusal | None:
    """Refuse an upgrade that skips a minor version, or goes back.

    https://docs.aws.amazon.com/eks/latest/userguide/update-cluster.html
    """
    if _minor(new) != _minor(old) + 1:
        return Refusal(
            "InvalidParameterException",
            f"Unsupported Kubernetes minor version update from {old} to {new}",
        )
    return check_version(new, today)


def check_node_version(cluster: str, nodes: str) -> Refusal | None:
    """Refuse nodes that are newer than the control plane.

    https://kubernetes.io/releases/version-skew-policy/#kubelet
    """
    if _minor(nodes) <= _minor(cluster):
        return None
    return Refusal(
        "InvalidParameterException",
        f"Nodegroup Kubernetes version {nodes} must not exceed the cluster's {cluster}",
    )


def check_addon(name: str, version: str | None, cluster: str) -> Refusal | None:
    """Refuse an add-on version that EKS does not offer for the cluster's version.

    Only kube-proxy has the minor version of a cluster in its own version. Berth requires a version
    for every add-on: without one, EKS resolves it once and never upgrades it
    (https://github.com/terraform-aws-modules/terraform-aws-eks/issues/3448).
    """
    if version is None:
        return Refusal("InvalidParameterException", f"Addon {name} has no version (strict)")
    if name == "kube-proxy" and _minor(version.removeprefix("v")) > _minor(cluster):
        return Refusal(
            "InvalidParameterException", f"Addon version {version} does not support {cluster}"
        )
    return None


def check_scaling(current: Mapping[str, int], change: Mapping[str, int]) -> Refusal | None:
    """Refuse a minimum above the desired size, or a desired size above the maximum.

    https://github.com/terraform-aws-modules/terraform-aws-eks/issues/3683
    """
    sizes = {**current, **change}
    if sizes["minSize"] > sizes["desiredSize"]:
        return Refusal(
            "InvalidParameterException",
            f"Minimum capacity {sizes['minSize']} can't be greater than desired size "
            f"{sizes['desiredSize']}",
        )
    if sizes["desiredSize"] > sizes["maxSize"]:
        return Refusal(
            "InvalidParameterException",
            f"desired capacity {sizes['desiredSize']} can't be greater than max size "
            f"{sizes['maxSize']}",
        )
    return None


def check_activation(tags: Iterable[str], billed: Iterable[str]) -> list[dict[str, str]]:
    """Return an error for each tag that no bill contains yet: only those can be activated.

    A budget that filters by a tag sees 0 USD until then. Tags take up to 24 hours to appear:
    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/activating-tags.html

    Args:
        billed: Tags that the account's bills contain.
    """
    return [
        {"TagKey": tag, "Code": "TagKeysNotFoundException", "Message": f"Tag keys not found: {tag}"}
        for tag in tags
        if tag not in set(billed)
    ]


def find_late_clusters(clusters: Iterable[str], deleted_group: str) -> list[str]:
    """Return the clusters for whose last lines AWS creates a deleted log group again.

    https://github.com/terraform-aws-modules/terraform-aws-eks/issues/2763

    Args:
        clusters: Names of the clusters whose last lines have not arrived.
    """
    return [name for name in clusters if deleted_group == f"/aws/eks/{name}/cluster"]


def check_network_deletion(users: Iterable[str], resource: str) -> Refusal | None:
    """Refuse to delete a subnet or a security group with network interfaces, or a VPC with groups.

    https://docs.aws.amazon.com/vpc/latest/userguide/delete-vpc.html

    Args:
        users: IDs of interfaces in the subnet or group, or of groups in the VPC except its default.
    """
    if not list(users):
        return None
    return Refusal("DependencyViolation", f"resource {resource} has a dependent object")


def describe_leaked_interface(cluster: str, instance: str) -> tuple[str, dict[str, str]]:
    """Return description and tags of an interface that a node left before it was attached.

    https://github.com/aws/amazon-vpc-cni-k8s/issues/608; tags:
    https://github.com/aws/amazon-vpc-cni-k8s/pull/2854
    """
    return f"aws-K8S-{instance}", {
        "node.k8s.amazonaws.com/instance_id": instance,
        "cluster.k8s.amazonaws.com/name": cluster,
        "eks:eni:owner": "amazon-vpc-cni",
        f"kubernetes.io/cluster/{cluster}": "owned",
    }


def _minor(version: str) -> int:
    return int(version.split(".")[1])


def describe(refusal: Refusal) -> dict[str, Any]:
    """Return the body of the error response."""
    return {"__type": refusal.code, "message": refusal.message}
