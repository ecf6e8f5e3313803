"""ClusterAddons: what AWS itself keeps running in a cluster."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_aws import eks

from pulumi_berth.aws.pod_role import PodRole, PodRoleArgs

# Without these a node does not become ready; they run on every node and wait for none.
BEFORE_NODES = ("eks-pod-identity-agent", "vpc-cni", "kube-proxy")
# Ordinary pods, which need a node to be there.
AFTER_NODES = ("coredns", "metrics-server", "amazon-cloudwatch-observability")

# What of AWS an add-on uses: namespace and name of its service account, and AWS's own policy.
# https://docs.aws.amazon.com/eks/latest/userguide/workloads-add-ons-available-eks.html
_IDENTITIES = {
    "vpc-cni": ("kube-system", "aws-node", "AmazonEKS_CNI_Policy"),
    "aws-ebs-csi-driver": (
        "kube-system",
        "ebs-csi-controller-sa",
        "service-role/AmazonEBSCSIDriverPolicy",
    ),
    "amazon-cloudwatch-observability": (
        "amazon-cloudwatch",
        "cloudwatch-agent",
        "CloudWatchAgentServerPolicy",
    ),
}
# Network policies are not enforced unless asked for.
# https://docs.aws.amazon.com/eks/latest/userguide/cni-network-policy-configure.html
_SETTINGS: dict[str, dict[str, Any]] = {"vpc-cni": {"enableNetworkPolicy": "true"}}


@dataclass(frozen=True, kw_only=True)
class ClusterAddonsArgs:
    """Which add-ons.

    Attributes:
        account: number of the account.
        cluster_name: of the cluster.
        cluster_arn: of the same.
        names: of the add-ons.
        versions: pinned ones; EKS's default for the cluster's version for the others.
        settings: name -> what is set beside Berth's own settings.
    """

    account: pulumi.Input[str]
    cluster_name: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    names: Sequence[str]
    versions: Mapping[str, str]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class ClusterAddons(pulumi.ComponentResource):
    """EKS add-ons, each with an identity of its own where it uses AWS. What Berth sets is put back
    when it was changed by hand; the rest of an add-on's settings stay as they are."""

    def __init__(
        self, name: str, args: ClusterAddonsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:ClusterAddons", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        for addon in args.names:
            settings = {**_SETTINGS.get(addon, {}), **args.settings.get(addon, {})}
            eks.Addon(
                addon,
                cluster_name=args.cluster_name,
                addon_name=addon,
                addon_version=args.versions.get(addon),
                configuration_values=json.dumps(settings) if settings else None,
                resolve_conflicts_on_create="OVERWRITE",
                resolve_conflicts_on_update="OVERWRITE",
                opts=pulumi.ResourceOptions.merge(
                    inside, pulumi.ResourceOptions(depends_on=_identity(addon, args, inside))
                ),
            )
        self.register_outputs({})


def _identity(
    addon: str, args: ClusterAddonsArgs, inside: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    if addon not in _IDENTITIES:
        return []
    namespace, account, policy = _IDENTITIES[addon]
    return [
        PodRole(
            addon,
            PodRoleArgs(
                account=args.account,
                cluster_name=args.cluster_name,
                cluster_arn=args.cluster_arn,
                namespace=namespace,
                service_account=account,
                managed=[policy],
            ),
            inside,
        )
    ]
