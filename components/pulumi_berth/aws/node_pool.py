"""NodePool: an autoscaled group of identical EKS nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pulumi
from pulumi_aws import ec2, eks

from pulumi_berth.aws.metrics import Compute
from pulumi_berth.aws.pool_size import PoolState, plan_size
from pulumi_berth.component_args import parse_args

# Bottlerocket images need no setup. The NVIDIA variant contains driver, runtime and device plugin:
# https://docs.aws.amazon.com/eks/latest/userguide/ml-eks-optimized-ami.html
AMI_TYPES = {
    ("cpu", "amd64"): "BOTTLEROCKET_x86_64",
    ("cpu", "arm64"): "BOTTLEROCKET_ARM_64",
    ("gpu", "amd64"): "BOTTLEROCKET_x86_64_NVIDIA",
    ("gpu", "arm64"): "BOTTLEROCKET_ARM_64_NVIDIA",
}
_EFFECTS = {
    "NoSchedule": "NO_SCHEDULE",
    "PreferNoSchedule": "PREFER_NO_SCHEDULE",
    "NoExecute": "NO_EXECUTE",
}
# Bottlerocket separates the operating system from images and logs.
_SYSTEM_DISK, _DATA_DISK, SYSTEM_GIB = "/dev/xvda", "/dev/xvdb", 4
GPU = "nvidia.com/gpu"
# The label tells the autoscaler that a new node has GPUs before the node reports them:
# https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/cloudprovider/aws/README.md
_GPU_LABELS = {"k8s.amazonaws.com/accelerator": "nvidia"}


class Architecture(StrEnum):
    """A CPU architecture."""

    AMD64 = "amd64"
    ARM64 = "arm64"


class TaintEffect(StrEnum):
    """The effect of a taint on pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


@dataclass(frozen=True, kw_only=True)
class Taint:
    """A Kubernetes taint. It keeps Pods that do not tolerate it off a node."""

    key: str
    value: str | None = None
    effect: TaintEffect | None = TaintEffect.NO_SCHEDULE


@dataclass(frozen=True, kw_only=True)
class NodePoolArgs:
    """Arguments for `NodePool`.

    Attributes:
        stack_name: Name of the stack. It is part of the names of the launch template and instances.
        cluster_name: Name of the EKS cluster.
        version: Kubernetes version of the cluster.
        role_arn: ARN of the nodes' IAM role (`NodeRole`).
        subnet_ids: IDs of private subnets.
        compute: `cpu`, or `gpu` for NVIDIA nodes with the taint `nvidia.com/gpu`.
        architecture: CPU architecture of the instance types.
        instance_types: Instance types, preferred first.
        min_nodes: Minimum number of nodes. Set to 0 to let an idle pool scale to zero.
        max_nodes: Maximum number of nodes.
        initial_nodes: Number of nodes at creation. The autoscaler manages it afterwards.
        spot: Use Spot Instances, which AWS can reclaim with two minutes' notice.
        disk_gib: Size of each node's encrypted disk for images and logs, in GiB.
        disk_key: ARN of the KMS key that encrypts disks.
        labels: Labels in addition to those of the compute class.
        taints: Taints in addition to those of the compute class.
        tags: Tags of instances and disks, which do not inherit the provider's tags.
        current: The pool as it is, from `look_up_pools`. An update that changes the bounds or
            replaces the group then keeps the autoscaler's node count. Defaults to a new pool.
    """

    stack_name: str
    cluster_name: pulumi.Input[str]
    version: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[str]]
    compute: Compute
    architecture: Architecture
    instance_types: Sequence[str]
    min_nodes: int
    max_nodes: int
    initial_nodes: int
    spot: bool
    disk_gib: int
    disk_key: pulumi.Input[str]
    labels: Mapping[str, str] | None = None
    taints: Sequence[Taint] | None = None
    tags: Mapping[str, str] | None = None
    current: PoolState | None = None


class NodePool(pulumi.ComponentResource):
    """An autoscaled group of identical EKS nodes.

    A replacement group is ready, under a new name, before the old group drains. A new version or
    disk rolls through the group, a third of the nodes at a time.

    With zero nodes, the autoscaler reads the group's labels and taints from EKS, and the number of
    GPUs from the instance type.

    Attributes:
        autoscaling_group: Name of the Auto Scaling group that contains the nodes.
    """

    autoscaling_group: pulumi.Output[str]

    def __init__(
        self, name: str, args: NodePoolArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:NodePool", name, None, opts)
        args = parse_args(NodePoolArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        full_name = f"berth-{args.stack_name}-{name}"
        size = plan_size(
            min_nodes=args.min_nodes,
            max_nodes=args.max_nodes,
            initial_nodes=args.initial_nodes,
            instance_types=args.instance_types,
            spot=args.spot,
            current=args.current,
        )
        template = ec2.LaunchTemplate(
            name,
            name_prefix=f"{full_name}-",
            update_default_version=True,
            # Keep node credentials from Pods: allow only IMDSv2, and only one network hop.
            metadata_options=ec2.LaunchTemplateMetadataOptionsArgs(
                http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
            ),
            block_device_mappings=[
                _disk(_SYSTEM_DISK, SYSTEM_GIB, args.disk_key),
                _disk(_DATA_DISK, args.disk_gib, args.disk_key),
            ],
            monitoring=ec2.LaunchTemplateMonitoringArgs(enabled=True),
            tag_specifications=[
                ec2.LaunchTemplateTagSpecificationArgs(
                    resource_type=kind, tags={**(args.tags or {}), "Name": full_name}
                )
                for kind in ("instance", "volume", "network-interface")
            ],
            opts=child_opts,
        )
        group = eks.NodeGroup(
            name,
            cluster_name=args.cluster_name,
            node_group_name_prefix=f"{name}-",
            node_role_arn=args.role_arn,
            subnet_ids=args.subnet_ids,
            version=args.version,
            ami_type=AMI_TYPES[args.compute, args.architecture],
            capacity_type="SPOT" if args.spot else "ON_DEMAND",
            instance_types=list(args.instance_types),
            launch_template=eks.NodeGroupLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(lambda number: str(number))
            ),
            scaling_config=eks.NodeGroupScalingConfigArgs(
                min_size=args.min_nodes, max_size=args.max_nodes, desired_size=size.desired_nodes
            ),
            update_config=eks.NodeGroupUpdateConfigArgs(max_unavailable_percentage=33),
            node_repair_config=eks.NodeGroupNodeRepairConfigArgs(enabled=True),
            labels={**(args.labels or {}), **(_GPU_LABELS if args.compute == Compute.GPU else {})},
            taints=[_taint_args(taint) for taint in _all_taints(args)],
            opts=pulumi.ResourceOptions.merge(
                child_opts,
                # The autoscaler manages the node count: otherwise every `up` would reset it.
                pulumi.ResourceOptions(
                    ignore_changes=["scalingConfig.desiredSize"] if size.keeps_count else []
                ),
            ),
        )
        self.autoscaling_group = group.resources.apply(_autoscaling_group)
        self.register_outputs({"autoscaling_group": self.autoscaling_group})


def _autoscaling_group(resources: Sequence[eks.outputs.NodeGroupResource]) -> str:
    groups = resources[0].autoscaling_groups or []
    return str(groups[0].name)


def _all_taints(args: NodePoolArgs) -> list[Taint]:
    own = [Taint(key=GPU, value="present")] if args.compute == Compute.GPU else []
    return own + [taint for taint in args.taints or () if taint.key not in {it.key for it in own}]


def _taint_args(taint: Taint) -> eks.NodeGroupTaintArgs:
    return eks.NodeGroupTaintArgs(
        key=taint.key,
        value=taint.value or None,
        effect=_EFFECTS[taint.effect or TaintEffect.NO_SCHEDULE],
    )


def _disk(
    device: str, gib: int, key: pulumi.Input[str]
) -> ec2.LaunchTemplateBlockDeviceMappingArgs:
    return ec2.LaunchTemplateBlockDeviceMappingArgs(
        device_name=device,
        ebs=ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
            volume_type="gp3",
            volume_size=gib,
            encrypted="true",
            kms_key_id=key,
            delete_on_termination="true",
        ),
    )
