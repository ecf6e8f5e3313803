"""Cluster: the control plane of EKS, who may use it, and what it is encrypted with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pulumi
from pulumi_aws import eks, iam

from pulumi_berth.aws.assume_role import assumed_by
from pulumi_berth.aws.log_group import LogSettings, log_group

_ALL_LOGS = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
# https://docs.aws.amazon.com/eks/latest/userguide/access-policy-permissions.html
_ACCESS_POLICIES = {
    "admin": "AmazonEKSClusterAdminPolicy",
    "edit": "AmazonEKSEditPolicy",
    "view": "AmazonEKSViewPolicy",
}


@dataclass(frozen=True, kw_only=True)
class Access:
    """What an IAM role may do in the cluster: everything, change what runs, or look."""

    role_arn: pulumi.Input[str]
    level: Literal["admin", "edit", "view"]


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """What a cluster is like.

    Attributes:
        cluster_name: 1 to 100 letters, digits, hyphens and underscores. Fixed, since AWS names the
            cluster's log group after it, and that has to be there, encrypted, before the cluster.
        version: of Kubernetes, such as `1.35`.
        support: at the version's end of standard support, `standard` upgrades the cluster and
            `extended` keeps the version at a higher price.
        subnet_ids: private ones in two zones or more.
        service_cidr: addresses of Services, apart from the VPC's.
        public_cidrs: ranges that reach the cluster's API from outside; from the VPC alone when
            empty.
        secrets_key: ARN of the key that Kubernetes Secrets are encrypted with.
        logs: how the control plane's logs are kept.
        access: who may use the cluster beside who made it, by a name of one's choice.
        protect: whether AWS and the engine refuse to delete it.
    """

    cluster_name: str
    version: str
    support: Literal["standard", "extended"]
    subnet_ids: pulumi.Input[Sequence[str]]
    service_cidr: str
    public_cidrs: Sequence[str] = ()
    secrets_key: pulumi.Input[str]
    logs: LogSettings
    access: Mapping[str, Access] = field(default_factory=dict)
    protect: bool = False


class Cluster(pulumi.ComponentResource):
    """A control plane without nodes and without add-ons: those come in their own order.

    Attributes:
        cluster_name: of the cluster, once it answers.
        arn: of the cluster.
        version: of Kubernetes.
        endpoint: URL of its API.
        certificate_authority: base64 of the certificate that its API is recognised by.
        security_group_id: that EKS puts on nodes and control plane.
    """

    cluster_name: pulumi.Output[str]
    arn: pulumi.Output[str]
    version: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    certificate_authority: pulumi.Output[str]
    security_group_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:Cluster", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        role = iam.Role(name, assume_role_policy=assumed_by("eks.amazonaws.com"), opts=inside)
        policy = iam.RolePolicyAttachment(
            name,
            role=role.name,
            policy_arn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy",
            opts=inside,
        )
        logs = log_group(name, args.logs, inside, path=f"/aws/eks/{args.cluster_name}/cluster")
        cluster = eks.Cluster(
            name,
            name=args.cluster_name,
            version=args.version,
            role_arn=role.arn,
            vpc_config=eks.ClusterVpcConfigArgs(
                subnet_ids=args.subnet_ids,
                endpoint_private_access=True,
                endpoint_public_access=bool(args.public_cidrs),
                public_access_cidrs=list(args.public_cidrs) or None,
            ),
            kubernetes_network_config=eks.ClusterKubernetesNetworkConfigArgs(
                service_ipv4_cidr=args.service_cidr
            ),
            encryption_config=eks.ClusterEncryptionConfigArgs(
                resources=["secrets"],
                provider=eks.ClusterEncryptionConfigProviderArgs(key_arn=args.secrets_key),
            ),
            access_config=eks.ClusterAccessConfigArgs(
                authentication_mode="API", bootstrap_cluster_creator_admin_permissions=True
            ),
            # As EKS add-ons, in their order and of their versions, and not as it has always been.
            bootstrap_self_managed_addons=False,
            enabled_cluster_log_types=_ALL_LOGS,
            upgrade_policy=eks.ClusterUpgradePolicyArgs(support_type=args.support.upper()),
            deletion_protection=args.protect,
            opts=pulumi.ResourceOptions.merge(
                inside, pulumi.ResourceOptions(depends_on=[policy, logs], protect=args.protect)
            ),
        )
        for who, access in args.access.items():
            entry = eks.AccessEntry(
                f"{name}-{who}",
                cluster_name=cluster.name,
                principal_arn=access.role_arn,
                type="STANDARD",
                opts=inside,
            )
            eks.AccessPolicyAssociation(
                f"{name}-{who}",
                cluster_name=cluster.name,
                principal_arn=entry.principal_arn,
                policy_arn=f"arn:aws:eks::aws:cluster-access-policy/{_ACCESS_POLICIES[access.level]}",
                access_scope=eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
                opts=inside,
            )
        self.cluster_name = cluster.name
        self.arn = cluster.arn
        self.version = cluster.version
        self.endpoint = cluster.endpoint
        self.certificate_authority = cluster.certificate_authority.data
        self.security_group_id = cluster.vpc_config.cluster_security_group_id
        self.register_outputs(
            {"clusterName": self.cluster_name, "arn": self.arn, "endpoint": self.endpoint}
        )
