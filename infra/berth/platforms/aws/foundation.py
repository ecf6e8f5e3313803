"""The foundation of an aws stack: keys, network, cluster, nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from berth.platforms.aws.access import stack_prefix
from berth.platforms.aws.account import AwsAccount
from berth.platforms.aws.support import resolve_addon_versions
from berth.spec import HostingSpec, SpecError
from pulumi_berth.aws.agent_settings import build_agent_settings
from pulumi_berth.aws.alarm_topic import alarm_key_statements
from pulumi_berth.aws.cluster import Access, AccessLevel, Cluster, ClusterArgs, SupportPolicy
from pulumi_berth.aws.cluster_addons import ClusterAddons, ClusterAddonsArgs
from pulumi_berth.aws.cluster_leftovers import ClusterLeftovers
from pulumi_berth.aws.edge_endpoint import REGION as EDGE_REGION
from pulumi_berth.aws.eks_versions import AFTER_NODES, BEFORE_NODES
from pulumi_berth.aws.encryption_key import (
    EncryptionKey,
    EncryptionKeyArgs,
    allow_account_through,
    allow_service,
)
from pulumi_berth.aws.iam_policies import autoscaler_permissions
from pulumi_berth.aws.iam_roles import NodeRole, NodeRoleArgs, PodRole, PodRoleArgs
from pulumi_berth.aws.logs import ContainerLogs, ContainerLogsArgs
from pulumi_berth.aws.metrics import Compute
from pulumi_berth.aws.network import NatMode, Network, NetworkArgs
from pulumi_berth.aws.node_pool import Architecture, NodePool, NodePoolArgs, Taint, TaintEffect
from pulumi_berth.aws.pool_size import look_up_pools
from pulumi_berth.kubernetes.cluster_autoscaler import SERVICE_ACCOUNT as AUTOSCALER

_CLOUDWATCH_ADDON = "amazon-cloudwatch-observability"


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The customer managed keys, one for each purpose."""

    logs: EncryptionKey
    cluster: EncryptionKey
    disks: EncryptionKey
    images: EncryptionKey
    data: EncryptionKey
    alerts: EncryptionKey


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """A cluster that can run Pods.

    Attributes:
        cluster: Control plane.
        pools: Node pools by name.
        ready: Resources that must exist before the first Pod.
    """

    cluster: Cluster
    pools: Mapping[str, NodePool]
    ready: list[pulumi.Resource]


def create_keys(spec: HostingSpec, account: AwsAccount) -> Keys:
    """Create a key for each purpose. Only the services of that purpose can use it."""

    def key(name: str, purpose: str, *statements: dict[str, object]) -> EncryptionKey:
        return create_stack_key(spec, account, name, purpose, statements)

    return Keys(
        logs=key("logs-key", "logs", _allow_logs(account.number, account.region)),
        cluster=key("cluster-key", "Kubernetes Secrets"),
        disks=key(
            "disks-key",
            "disks of nodes",
            allow_account_through(account.number, f"ec2.{account.region}.amazonaws.com"),
        ),
        images=key("images-key", "images"),
        data=key("data-key", "data that models read"),
        alerts=key("alerts-key", "alarm messages", *alarm_key_statements()),
    )


def create_stack_key(
    spec: HostingSpec,
    account: AwsAccount,
    name: str,
    purpose: str,
    statements: Sequence[dict[str, object]] = (),
    *,
    region: str | None = None,
) -> EncryptionKey:
    """Create a key with the stack's settings.

    Args:
        region: Region of the key. Defaults to the stack's Region.
    """
    return EncryptionKey(
        name,
        EncryptionKeyArgs(
            stack_name=account.stack,
            purpose=f"Berth {account.stack}: {purpose}",
            account=account.number,
            statements=statements,
            rotation_days=spec.encryption.rotation_days,
            deletion_window_days=spec.encryption.deletion_window_days,
            protect=spec.protect,
            region=region,
        ),
        account.options(),
    )


def create_edge_logs_key(spec: HostingSpec, account: AwsAccount, keys: Keys) -> EncryptionKey:
    """Return the key for logs of CloudFront, which are in us-east-1 for every stack."""
    if account.region == EDGE_REGION:
        return keys.logs
    statements = [_allow_logs(account.number, EDGE_REGION)]
    return create_stack_key(
        spec, account, "edge-logs-key", "logs of the edge endpoint", statements, region=EDGE_REGION
    )


def _allow_logs(account: str, region: str) -> dict[str, object]:
    """Return a statement that lets CloudWatch Logs use the key for this account's log groups."""
    groups = f"arn:aws:logs:{region}:{account}:*"
    return allow_service(
        f"logs.{region}.amazonaws.com",
        {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
    )


def create_network(spec: HostingSpec, account: AwsAccount, keys: Keys) -> Network:
    """Create the stack's VPC."""
    return Network(
        "network",
        NetworkArgs(
            stack_name=account.stack,
            region=account.region,
            account=account.number,
            cidr=spec.network.cidr,
            zones=account.zones,
            nat=NatMode(spec.network.nat),
            interface_endpoints=list(spec.network.interface_endpoints),
            flow_log=account.log_settings(spec.network.flow_log_days, keys.logs.arn),
        ),
        account.options(),
    )


def _public_cidrs(spec: HostingSpec) -> list[str]:
    """Return the ranges that the public endpoint admits.

    Raises:
        SpecError: If there are none in an update, which `berth up` never starts.
    """
    is_missing = spec.cluster.endpoint == "public_and_private" and not spec.cluster.public_cidrs
    is_emulated = spec.kubernetes.kubeconfig is not None
    if is_missing and not is_emulated and not pulumi.runtime.is_dry_run():
        raise SpecError.of(
            "berth:cluster.public_cidrs: is empty; run `berth preflight`, which records the "
            "address of this machine, or list the ranges that may reach the cluster's API"
        )
    return list(spec.cluster.public_cidrs)


def create_nodes(spec: HostingSpec, account: AwsAccount, keys: Keys, network: Network) -> Nodes:
    """Create the control plane, the add-ons that nodes need, the node pools, and other add-ons."""
    cluster_name = stack_prefix(account.stack)
    logs = account.log_settings(spec.observability.log_days, keys.logs.arn)
    # Between the subnets and the cluster, in this order and the opposite.
    leftovers = ClusterLeftovers(
        "leftovers",
        region=account.region,
        vpc_id=network.vpc_id,
        subnet_ids=pulumi.Output.all(network.private_subnet_ids, network.public_subnet_ids).apply(
            lambda ids: [*ids[0], *ids[1]]
        ),
        cluster_name=cluster_name,
        stack_name=account.stack,
    )
    cluster = Cluster(
        "cluster",
        ClusterArgs(
            cluster_name=cluster_name,
            version=spec.cluster.version,
            support=SupportPolicy(spec.cluster.support),
            subnet_ids=network.private_subnet_ids,
            service_cidr=spec.cluster.service_cidr,
            public_cidrs=_public_cidrs(spec),
            private_cidrs=list(spec.cluster.private_cidrs),
            secrets_key=keys.cluster.arn,
            logs=logs,
            access={
                name: Access(
                    role_arn=f"arn:aws:iam::{account.number}:role/{access.role}",
                    level=AccessLevel(access.level),
                )
                for name, access in spec.cluster.access.items()
            },
            protect=spec.protect,
        ),
        pulumi.ResourceOptions.merge(
            account.options(), pulumi.ResourceOptions(depends_on=[leftovers])
        ),
    )

    def addons(
        name: str, names: tuple[str, ...], depends_on: list[pulumi.Resource]
    ) -> ClusterAddons:
        return ClusterAddons(
            name,
            ClusterAddonsArgs(
                account=account.number,
                cluster_name=cluster.cluster_name,
                cluster_arn=cluster.arn,
                names=names,
                settings={
                    _CLOUDWATCH_ADDON: build_agent_settings(cluster_name, spec.kubernetes.namespace)
                },
                versions=resolve_addon_versions(spec.cluster),
            ),
            pulumi.ResourceOptions.merge(
                account.options(), pulumi.ResourceOptions(depends_on=depends_on)
            ),
        )

    before = addons("addons-before-nodes", BEFORE_NODES, [])
    pools = _create_pools(spec, account, keys, network, cluster, before)
    optional = tuple(
        name for name in spec.cluster.addons if name not in (*BEFORE_NODES, *AFTER_NODES)
    )
    system = [pools[name] for name, pool in spec.node_pools.items() if pool.min > 0]
    container_logs = ContainerLogs(
        "containers", ContainerLogsArgs(cluster_name=cluster_name, logs=logs), account.options()
    )
    after = addons("addons", (*AFTER_NODES, *optional), [*system, container_logs])
    return Nodes(cluster=cluster, pools=pools, ready=[*system, after])


def _create_pools(
    spec: HostingSpec,
    account: AwsAccount,
    keys: Keys,
    network: Network,
    cluster: Cluster,
    addons: ClusterAddons,
) -> dict[str, NodePool]:
    role = NodeRole("nodes", NodeRoleArgs(stack_name=account.stack), account.options())
    current = look_up_pools(
        stack_prefix(account.stack), pulumi.InvokeOptions(provider=account.provider)
    )
    return {
        name: NodePool(
            name,
            NodePoolArgs(
                stack_name=account.stack,
                cluster_name=cluster.cluster_name,
                version=cluster.version,
                role_arn=role.arn,
                subnet_ids=network.private_subnet_ids,
                compute=Compute(pool.compute),
                architecture=Architecture(pool.architecture),
                instance_types=list(pool.instance_types),
                min_nodes=pool.min,
                max_nodes=pool.max,
                initial_nodes=pool.initial,
                spot=pool.spot,
                disk_gib=pool.disk_gib,
                disk_key=keys.disks.arn,
                labels=dict(pool.labels),
                taints=[
                    Taint(key=taint.key, value=taint.value, effect=TaintEffect(taint.effect))
                    for taint in pool.taints
                ],
                tags=account.tags,
                current=current.get(name),
            ),
            pulumi.ResourceOptions.merge(
                account.options(), pulumi.ResourceOptions(depends_on=[addons])
            ),
        )
        for name, pool in spec.node_pools.items()
    }


def create_autoscaler_role(spec: HostingSpec, account: AwsAccount, nodes: Nodes) -> PodRole:
    """Create the AWS permissions of the cluster autoscaler."""
    return PodRole(
        "autoscaler",
        PodRoleArgs(
            account=account.number,
            cluster_name=nodes.cluster.cluster_name,
            cluster_arn=nodes.cluster.arn,
            namespace=spec.kubernetes.namespace,
            service_account=AUTOSCALER,
            policy=autoscaler_permissions(
                region=account.region,
                account=account.number,
                cluster_name=stack_prefix(account.stack),
            ),
        ),
        account.options(),
    )
