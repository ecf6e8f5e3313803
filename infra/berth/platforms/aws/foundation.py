"""What hosting on AWS stands on: keys, network, cluster, nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from berth.platforms.aws.account import AwsAccount
from berth.platforms.aws.eks import cluster_name
from berth.spec import HostingSpec
from pulumi_berth.aws.agent_settings import agent_settings
from pulumi_berth.aws.alarm_topic import alarm_key_users
from pulumi_berth.aws.autoscaler_rights import autoscaler_policy
from pulumi_berth.aws.cluster import Access, Cluster, ClusterArgs
from pulumi_berth.aws.cluster_addons import (
    AFTER_NODES,
    BEFORE_NODES,
    ClusterAddons,
    ClusterAddonsArgs,
)
from pulumi_berth.aws.container_logs import ContainerLogs, ContainerLogsArgs
from pulumi_berth.aws.edge_endpoint import REGION as EDGE_REGION
from pulumi_berth.aws.encryption_key import (
    EncryptionKey,
    EncryptionKeyArgs,
    account_use,
    service_use,
)
from pulumi_berth.aws.log_group import LogSettings
from pulumi_berth.aws.network import Network, NetworkArgs
from pulumi_berth.aws.node_pool import NodePool, NodePoolArgs, Taint
from pulumi_berth.aws.node_role import NodeRole
from pulumi_berth.aws.pod_role import PodRole, PodRoleArgs
from pulumi_berth.kubernetes.cluster_autoscaler import SERVICE_ACCOUNT as AUTOSCALER

CLOUDWATCH = "amazon-cloudwatch-observability"


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The customer keys, one per purpose."""

    logs: EncryptionKey
    cluster: EncryptionKey
    disks: EncryptionKey
    images: EncryptionKey
    data: EncryptionKey
    alerts: EncryptionKey


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """A cluster that pods can be given to.

    Attributes:
        cluster: its control plane.
        pools: by name.
        ready: what has to be there before the first pod.
    """

    cluster: Cluster
    pools: Mapping[str, NodePool]
    ready: list[pulumi.Resource]


def make_keys(spec: HostingSpec, account: AwsAccount) -> Keys:
    """A key for each purpose, usable by what serves that purpose alone."""

    def key(name: str, purpose: str, *users: dict[str, object]) -> EncryptionKey:
        return stack_key(spec, account, name, purpose, users)

    return Keys(
        logs=key(
            "logs-key",
            "logs",
            _logs_of(account.number, account.region),
        ),
        cluster=key("cluster-key", "Kubernetes Secrets"),
        disks=key(
            "disks-key",
            "disks of nodes",
            account_use(account.number, f"ec2.{account.region}.amazonaws.com"),
        ),
        images=key("images-key", "images"),
        data=key("data-key", "data that models read"),
        alerts=key(
            "alerts-key",
            "alarms on their way",
            *alarm_key_users(),
        ),
    )


def stack_key(
    spec: HostingSpec,
    account: AwsAccount,
    name: str,
    purpose: str,
    users: Sequence[dict[str, object]] = (),
    *,
    region: str | None = None,
) -> EncryptionKey:
    """A key as all of the stack's are; of its region unless another is given."""
    return EncryptionKey(
        name,
        EncryptionKeyArgs(
            purpose=f"Berth {pulumi.get_stack()}: {purpose}",
            account=account.number,
            users=users,
            rotation_days=spec.encryption.rotation_days,
            deletion_window_days=spec.encryption.deletion_window_days,
            protect=spec.protect,
            region=region,
        ),
        account.options(),
    )


def edge_logs_key(spec: HostingSpec, account: AwsAccount, keys: Keys) -> EncryptionKey:
    """The key for logs of what AWS keeps in us-east-1, wherever the stack is."""
    if account.region == EDGE_REGION:
        return keys.logs
    users = [_logs_of(account.number, EDGE_REGION)]
    return stack_key(
        spec, account, "edge-logs-key", "logs of the edge endpoint", users, region=EDGE_REGION
    )


def _logs_of(account: str, region: str) -> dict[str, object]:
    """CloudWatch Logs may use the key for this account's groups."""
    groups = f"arn:aws:logs:{region}:{account}:*"
    return service_use(
        f"logs.{region}.amazonaws.com",
        {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
    )


def make_network(spec: HostingSpec, account: AwsAccount, keys: Keys) -> Network:
    """The VPC of the stack."""
    return Network(
        "network",
        NetworkArgs(
            region=account.region,
            account=account.number,
            cidr=spec.network.cidr,
            zones=account.zones,
            nat=spec.network.nat,
            interface_endpoints=list(spec.network.interface_endpoints),
            flow_log=LogSettings(days=spec.network.flow_log_days, key=keys.logs.arn),
        ),
        account.options(),
    )


def make_nodes(spec: HostingSpec, account: AwsAccount, keys: Keys, network: Network) -> Nodes:
    """Control plane -> what a node needs to become one -> pools of nodes -> what needs a node."""
    in_eks = cluster_name(pulumi.get_stack())
    cluster = Cluster(
        "cluster",
        ClusterArgs(
            cluster_name=in_eks,
            version=spec.cluster.version,
            support=spec.cluster.support,
            subnet_ids=network.private_subnet_ids,
            service_cidr=spec.cluster.service_cidr,
            public_cidrs=list(spec.cluster.public_cidrs),
            secrets_key=keys.cluster.arn,
            logs=LogSettings(days=spec.observability.log_days, key=keys.logs.arn),
            access={
                name: Access(
                    role_arn=f"arn:aws:iam::{account.number}:role/{access.role}",
                    level=access.level,
                )
                for name, access in spec.cluster.access.items()
            },
            protect=spec.protect,
        ),
        account.options(),
    )

    def addons(name: str, names: tuple[str, ...], after: list[pulumi.Resource]) -> ClusterAddons:
        return ClusterAddons(
            name,
            ClusterAddonsArgs(
                account=account.number,
                cluster_name=cluster.cluster_name,
                cluster_arn=cluster.arn,
                names=names,
                settings={CLOUDWATCH: agent_settings(in_eks, spec.kubernetes.namespace)},
                versions={str(addon): version for addon, version in spec.cluster.addons.items()},
            ),
            pulumi.ResourceOptions.merge(
                account.options(), pulumi.ResourceOptions(depends_on=after)
            ),
        )

    before = addons("addons-before-nodes", BEFORE_NODES, [])
    pools = _pools(spec, account, keys, network, cluster, before)
    further = tuple(
        name for name in spec.cluster.addons if name not in (*BEFORE_NODES, *AFTER_NODES)
    )
    system = [pools[name] for name, pool in spec.node_pools.items() if pool.min > 0]
    logs = ContainerLogs(
        "containers",
        ContainerLogsArgs(
            cluster_name=in_eks,
            logs=LogSettings(days=spec.observability.log_days, key=keys.logs.arn),
        ),
        account.options(),
    )
    after = addons("addons", (*AFTER_NODES, *further), [*system, logs])
    return Nodes(cluster=cluster, pools=pools, ready=[*system, after])


def _pools(
    spec: HostingSpec,
    account: AwsAccount,
    keys: Keys,
    network: Network,
    cluster: Cluster,
    before: ClusterAddons,
) -> dict[str, NodePool]:
    role = NodeRole("nodes", account.options())
    return {
        name: NodePool(
            name,
            NodePoolArgs(
                cluster_name=cluster.cluster_name,
                version=cluster.version,
                role_arn=role.arn,
                subnet_ids=network.private_subnet_ids,
                compute=pool.compute,
                architecture=pool.architecture,
                instance_types=list(pool.instance_types),
                min=pool.min,
                max=pool.max,
                desired=pool.initial,
                spot=pool.spot,
                disk_gib=pool.disk_gib,
                disk_key=keys.disks.arn,
                labels=dict(pool.labels),
                taints=[
                    Taint(key=taint.key, value=taint.value, effect=taint.effect)
                    for taint in pool.taints
                ],
                tags=account.tags,
            ),
            pulumi.ResourceOptions.merge(
                account.options(), pulumi.ResourceOptions(depends_on=[before])
            ),
        )
        for name, pool in spec.node_pools.items()
    }


def autoscaler_role(spec: HostingSpec, account: AwsAccount, nodes: Nodes) -> PodRole:
    """What the cluster autoscaler may do in AWS."""
    return PodRole(
        "autoscaler",
        PodRoleArgs(
            account=account.number,
            cluster_name=nodes.cluster.cluster_name,
            cluster_arn=nodes.cluster.arn,
            namespace=spec.kubernetes.namespace,
            service_account=AUTOSCALER,
            policy=autoscaler_policy(
                region=account.region,
                account=account.number,
                cluster_name=cluster_name(pulumi.get_stack()),
            ),
        ),
        account.options(),
    )
