"""The sizes of node pools: those of the arguments, and the node count of the autoscaler."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import eks

# EKS and Pulumi append a timestamp or random characters to the prefix `<pool>-`.
_GENERATED = re.compile(r"(?P<pool>.+)-[0-9a-z]+")


@dataclass(frozen=True, kw_only=True)
class PoolState:
    """A node group as it is.

    Attributes:
        min_nodes: Minimum number of nodes.
        max_nodes: Maximum number of nodes.
        desired_nodes: Number of nodes that the autoscaler set last.
        instance_types: Instance types, preferred first.
        spot: Whether the nodes are Spot Instances.
    """

    min_nodes: int
    max_nodes: int
    desired_nodes: int
    instance_types: Sequence[str]
    spot: bool


@dataclass(frozen=True, kw_only=True)
class SizePlan:
    """The node count of a node group in the next update.

    Attributes:
        desired_nodes: Number of nodes.
        keeps_count: Whether the update leaves the number to the autoscaler.
    """

    desired_nodes: int
    keeps_count: bool


def plan_size(
    *,
    min_nodes: int,
    max_nodes: int,
    initial_nodes: int,
    instance_types: Sequence[str],
    spot: bool,
    current: PoolState | None,
) -> SizePlan:
    """Return the node count of the next update.

    An update that changes the bounds sends a node count too. EKS refuses a minimum above the count
    (https://github.com/terraform-aws-modules/terraform-aws-eks/issues/3683), and the count in
    Pulumi's state is older than the autoscaler's. So the plan takes the current count, within the
    new bounds. A replacement group starts with the same count, so that the Pods find room.

    Args:
        current: The group as it is, or None before it exists.
    """
    if current is None:
        return SizePlan(desired_nodes=initial_nodes, keeps_count=True)
    bounds = (current.min_nodes, current.max_nodes)
    is_same = (
        bounds == (min_nodes, max_nodes)
        and list(current.instance_types) == list(instance_types)
        and current.spot == spot
    )
    count = min(max(current.desired_nodes, min_nodes), max_nodes)
    return SizePlan(desired_nodes=count, keeps_count=is_same)


def look_up_pools(cluster_name: str, opts: pulumi.InvokeOptions) -> dict[str, PoolState]:
    """Return the node groups of a cluster by pool name, or none if it does not exist.

    Of two groups of a pool, as during a replacement, the larger one counts.
    """
    names = eks.get_clusters(opts=opts).names or []
    if cluster_name not in names:
        return {}
    pools: dict[str, PoolState] = {}
    for group_name in eks.get_node_groups(cluster_name=cluster_name, opts=opts).names or []:
        match = _GENERATED.fullmatch(group_name)
        group = eks.get_node_group(cluster_name=cluster_name, node_group_name=group_name, opts=opts)
        if match is None or not group.scaling_configs:
            continue
        scaling = group.scaling_configs[0]
        state = PoolState(
            min_nodes=scaling.min_size,
            max_nodes=scaling.max_size,
            desired_nodes=scaling.desired_size,
            instance_types=group.instance_types,
            spot=group.capacity_type == "SPOT",
        )
        other = pools.get(match["pool"])
        if other is None or other.desired_nodes < state.desired_nodes:
            pools[match["pool"]] = state
    return pools
