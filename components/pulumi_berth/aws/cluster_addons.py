"""ClusterAddons: the EKS add-ons of a cluster."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import eks

from pulumi_berth.aws.iam_roles import PodRole, PodRoleArgs
from pulumi_berth.component_args import ArgumentError, parse_args

# Add-ons that call AWS: namespace and name of the service account, and AWS managed policy.
# https://docs.aws.amazon.com/eks/latest/userguide/workloads-add-ons-available-eks.html
IDENTITIES = {
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
# The add-on enforces network policies only if this is enabled.
# https://docs.aws.amazon.com/eks/latest/userguide/cni-network-policy-configure.html
_SETTINGS: dict[str, dict[str, Any]] = {"vpc-cni": {"enableNetworkPolicy": "true"}}


@dataclass(frozen=True, kw_only=True)
class ClusterAddonsArgs:
    """Arguments for `ClusterAddons`.

    Attributes:
        account: Account ID.
        cluster_name: Name of the EKS cluster.
        cluster_arn: ARN of the same cluster.
        names: Names of the add-ons.
        versions: Version of each add-on. EKS resolves a missing version only once, at creation,
            so the add-on would then fall behind the cluster
            (https://github.com/terraform-aws-modules/terraform-aws-eks/issues/3448).
        settings: Settings by add-on, in addition to Berth's own.
    """

    account: pulumi.Input[str]
    cluster_name: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    names: Sequence[str]
    versions: Mapping[str, str]
    settings: Mapping[str, Mapping[str, Any]] | None = None


class ClusterAddons(pulumi.ComponentResource):
    """EKS add-ons. Each add-on that calls AWS has its own IAM role.

    An update restores settings of Berth that were changed by hand. It keeps all other settings.

    After an upgrade of the cluster, the add-ons that run on every node come first, then the nodes,
    then the other add-ons: pass each step the previous one in `depends_on`.

    Raises:
        ArgumentError: If an add-on has no version.
    """

    def __init__(
        self, name: str, args: ClusterAddonsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:ClusterAddons", name, None, opts)
        args = parse_args(ClusterAddonsArgs, args)
        missing = [addon for addon in args.names if not args.versions.get(addon)]
        if missing:
            problem = f"has no version for {', '.join(missing)}; add one"
            raise ArgumentError([("versions", problem)])
        child_opts = pulumi.ResourceOptions(parent=self)
        for addon in args.names:
            settings = {**_SETTINGS.get(addon, {}), **(args.settings or {}).get(addon, {})}
            eks.Addon(
                addon,
                cluster_name=args.cluster_name,
                addon_name=addon,
                addon_version=args.versions[addon],
                configuration_values=json.dumps(settings) if settings else None,
                resolve_conflicts_on_create="OVERWRITE",
                resolve_conflicts_on_update="OVERWRITE",
                opts=pulumi.ResourceOptions.merge(
                    child_opts,
                    pulumi.ResourceOptions(depends_on=_create_role(addon, args, child_opts)),
                ),
            )
        self.register_outputs({})


def _create_role(
    addon: str, args: ClusterAddonsArgs, child_opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    if addon not in IDENTITIES:
        return []
    namespace, service_account, policy = IDENTITIES[addon]
    return [
        PodRole(
            addon,
            PodRoleArgs(
                account=args.account,
                cluster_name=args.cluster_name,
                cluster_arn=args.cluster_arn,
                namespace=namespace,
                service_account=service_account,
                managed_policies=[policy],
            ),
            child_opts,
        )
    ]
