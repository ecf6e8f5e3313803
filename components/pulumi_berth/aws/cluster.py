"""Cluster: an EKS control plane, its access entries and its encryption."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pulumi
from pulumi_aws import ec2, eks, iam

from pulumi_berth.aws.iam_policies import service_trust_policy
from pulumi_berth.aws.logs import LogSettings, create_log_group
from pulumi_berth.component_args import parse_args

_API_PORT = 443
_ALL_LOGS = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
# https://docs.aws.amazon.com/eks/latest/userguide/access-policy-permissions.html
_ACCESS_POLICIES = {
    "admin": "AmazonEKSClusterAdminPolicy",
    "edit": "AmazonEKSEditPolicy",
    "view": "AmazonEKSViewPolicy",
}


class AccessLevel(StrEnum):
    """The permissions of a role in a cluster."""

    ADMIN = "admin"
    EDIT = "edit"
    VIEW = "view"


class SupportPolicy(StrEnum):
    """What happens at the end of a Kubernetes version's standard support."""

    STANDARD = "standard"
    EXTENDED = "extended"


@dataclass(frozen=True, kw_only=True)
class Access:
    """An IAM role and its access level: `admin`, `edit` for workloads, or `view`."""

    role_arn: pulumi.Input[str]
    level: AccessLevel


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """Arguments for `Cluster`.

    Attributes:
        cluster_name: Name of the cluster: 1 to 100 letters, digits, hyphens and underscores. AWS
            derives the name of the log group from it, and the encrypted group must exist first.
        version: Kubernetes version, such as `1.35`.
        support: Behavior at the end of the version's standard support: `standard` upgrades the
            cluster, `extended` keeps the version at a higher price.
        subnet_ids: IDs of private subnets in two or more zones.
        service_cidr: Address range of Services. It must not overlap the VPC.
        public_cidrs: Address ranges that can reach the cluster's API from outside the VPC. If
            empty, the API has no public endpoint.
        private_cidrs: Address ranges that can reach the cluster's API through the VPC: of a VPN, a
            peered network, or machines in the VPC. Defaults to none: EKS's security group admits
            only the cluster's nodes.
        secrets_key: ARN of the KMS key that encrypts Kubernetes Secrets.
        logs: Settings of the control plane's logs.
        access: Roles that can use the cluster in addition to its creator, by a name of your choice.
        protect: Prevent AWS and Pulumi from deleting the cluster.
    """

    cluster_name: str
    version: str
    support: SupportPolicy
    subnet_ids: pulumi.Input[Sequence[str]]
    service_cidr: str
    public_cidrs: Sequence[str] | None = None
    private_cidrs: Sequence[str] | None = None
    secrets_key: pulumi.Input[str]
    logs: LogSettings
    access: Mapping[str, Access] | None = None
    protect: bool | None = False


class Cluster(pulumi.ComponentResource):
    """An EKS control plane. Nodes and add-ons are separate components, because their order matters.

    Attributes:
        cluster_name: Name of the cluster. Known after its API responds.
        arn: ARN of the cluster.
        version: Kubernetes version.
        endpoint: URL of the cluster's API.
        certificate_authority: Base64-encoded certificate of the cluster's API.
        security_group_id: Security group that EKS attaches to nodes and control plane.
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
        args = parse_args(ClusterArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        role = iam.Role(
            name, assume_role_policy=service_trust_policy("eks.amazonaws.com"), opts=child_opts
        )
        policy = iam.RolePolicyAttachment(
            name,
            role=role.name,
            policy_arn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy",
            opts=child_opts,
        )
        logs = create_log_group(
            name, args.logs, child_opts, path=f"/aws/eks/{args.cluster_name}/cluster"
        )
        cluster = eks.Cluster(
            name,
            name=args.cluster_name,
            version=args.version,
            role_arn=role.arn,
            vpc_config=eks.ClusterVpcConfigArgs(
                subnet_ids=args.subnet_ids,
                endpoint_private_access=True,
                endpoint_public_access=bool(args.public_cidrs),
                public_access_cidrs=list(args.public_cidrs or ()) or None,
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
            # `ClusterAddons` installs add-ons in the right order and with pinned versions.
            bootstrap_self_managed_addons=False,
            enabled_cluster_log_types=_ALL_LOGS,
            upgrade_policy=eks.ClusterUpgradePolicyArgs(support_type=args.support.upper()),
            deletion_protection=args.protect,
            opts=pulumi.ResourceOptions.merge(
                child_opts, pulumi.ResourceOptions(depends_on=[policy, logs], protect=args.protect)
            ),
        )
        for role_name, access in (args.access or {}).items():
            entry = eks.AccessEntry(
                f"{name}-{role_name}",
                cluster_name=cluster.name,
                principal_arn=access.role_arn,
                type="STANDARD",
                opts=child_opts,
            )
            eks.AccessPolicyAssociation(
                f"{name}-{role_name}",
                cluster_name=cluster.name,
                principal_arn=entry.principal_arn,
                policy_arn=f"arn:aws:eks::aws:cluster-access-policy/{_ACCESS_POLICIES[access.level]}",
                access_scope=eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
                opts=child_opts,
            )
        if args.private_cidrs:
            # https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html#private-access
            ec2.SecurityGroupRule(
                f"{name}-private",
                type="ingress",
                description="The cluster's API, from connected networks",
                security_group_id=cluster.vpc_config.cluster_security_group_id,
                cidr_blocks=list(args.private_cidrs),
                protocol="tcp",
                from_port=_API_PORT,
                to_port=_API_PORT,
                opts=child_opts,
            )
        self.cluster_name = cluster.name
        self.arn = cluster.arn
        self.version = cluster.version
        self.endpoint = cluster.endpoint
        self.certificate_authority = cluster.certificate_authority.data
        self.security_group_id = cluster.vpc_config.cluster_security_group_id
        self.register_outputs(
            {
                "cluster_name": self.cluster_name,
                "arn": self.arn,
                "version": self.version,
                "endpoint": self.endpoint,
                "certificate_authority": self.certificate_authority,
                "security_group_id": self.security_group_id,
            }
        )
