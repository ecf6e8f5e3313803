"""NodePool: a group of alike nodes, sized by the autoscaler."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pulumi
from pulumi_aws import ec2, eks

# Images from AWS that need no further set-up; the one for NVIDIA has driver, runtime and device
# plugin: https://docs.aws.amazon.com/eks/latest/userguide/ml-eks-optimized-ami.html
_AMI_TYPES = {
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
# Bottlerocket keeps the system apart from images and logs.
_SYSTEM_DISK, _DATA_DISK, _SYSTEM_GIB = "/dev/xvda", "/dev/xvdb", 4
GPU = "nvidia.com/gpu"
# By this the autoscaler knows that a new node's graphics processors are still to be reported:
# https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/cloudprovider/aws/README.md
_ACCELERATED = {"k8s.amazonaws.com/accelerator": "nvidia"}


@dataclass(frozen=True, kw_only=True)
class Taint:
    """What keeps pods that do not tolerate it off a node."""

    key: str
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


@dataclass(frozen=True, kw_only=True)
class NodePoolArgs:
    """What the nodes are like.

    Attributes:
        cluster_name: of their cluster.
        version: of Kubernetes; the cluster's.
        role_arn: what the nodes may do.
        subnet_ids: private ones.
        compute: gpu nodes are of NVIDIA's kind, and carry the taint `nvidia.com/gpu`.
        architecture: of the instance types.
        instance_types: the preferred one first.
        min, max: nodes; the autoscaler stays between them.
        desired: nodes at the start; the autoscaler's business afterwards.
        spot: spare capacity, cheaper, taken back at two minutes' notice.
        disk_gib: size of the disk for images and logs, GiB.
        disk_key: ARN of the key that disks are encrypted with.
        labels, taints: beside those of the compute class.
        tags: of instances and disks, which do not inherit the provider's.
    """

    cluster_name: pulumi.Input[str]
    version: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[str]]
    compute: Literal["cpu", "gpu"]
    architecture: Literal["amd64", "arm64"]
    instance_types: Sequence[str]
    min: int
    max: int
    desired: int
    spot: bool
    disk_gib: int
    disk_key: pulumi.Input[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Taint] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


class NodePool(pulumi.ComponentResource):
    """A managed node group. A new one is there before the old one goes, under a new name; a new
    version or disk is rolled through it, a third of the nodes at a time.

    From no nodes at all the autoscaler knows labels and taints of the group from EKS, and the
    number of graphics processors from the instance type.

    Attributes:
        autoscaling_group: name of the group of instances behind it.
    """

    autoscaling_group: pulumi.Output[str]

    def __init__(
        self, name: str, args: NodePoolArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:NodePool", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        full = f"berth-{pulumi.get_stack()}-{name}"
        template = ec2.LaunchTemplate(
            name,
            name_prefix=f"{full}-",
            update_default_version=True,
            # The credentials of a node are not for its pods: version 2 alone, one hop away.
            metadata_options=ec2.LaunchTemplateMetadataOptionsArgs(
                http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
            ),
            block_device_mappings=[
                _disk(_SYSTEM_DISK, _SYSTEM_GIB, args.disk_key),
                _disk(_DATA_DISK, args.disk_gib, args.disk_key),
            ],
            monitoring=ec2.LaunchTemplateMonitoringArgs(enabled=True),
            tag_specifications=[
                ec2.LaunchTemplateTagSpecificationArgs(
                    resource_type=kind, tags={**args.tags, "Name": full}
                )
                for kind in ("instance", "volume", "network-interface")
            ],
            opts=inside,
        )
        group = eks.NodeGroup(
            name,
            cluster_name=args.cluster_name,
            node_group_name_prefix=f"{name}-",
            node_role_arn=args.role_arn,
            subnet_ids=args.subnet_ids,
            version=args.version,
            ami_type=_AMI_TYPES[args.compute, args.architecture],
            capacity_type="SPOT" if args.spot else "ON_DEMAND",
            instance_types=list(args.instance_types),
            launch_template=eks.NodeGroupLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(lambda number: str(number))
            ),
            scaling_config=eks.NodeGroupScalingConfigArgs(
                min_size=args.min, max_size=args.max, desired_size=args.desired
            ),
            update_config=eks.NodeGroupUpdateConfigArgs(max_unavailable_percentage=33),
            node_repair_config=eks.NodeGroupNodeRepairConfigArgs(enabled=True),
            labels={**args.labels, **(_ACCELERATED if args.compute == "gpu" else {})},
            taints=[_taint(taint) for taint in _taints(args)],
            opts=pulumi.ResourceOptions.merge(
                inside,
                # The number of nodes is the autoscaler's: else each `up` would undo its work.
                pulumi.ResourceOptions(ignore_changes=["scalingConfig.desiredSize"]),
            ),
        )
        self.autoscaling_group = group.resources.apply(_autoscaling_group)
        self.register_outputs({"autoscalingGroup": self.autoscaling_group})


def _autoscaling_group(resources: Sequence[eks.outputs.NodeGroupResource]) -> str:
    groups = resources[0].autoscaling_groups or []
    return str(groups[0].name)


def _taints(args: NodePoolArgs) -> list[Taint]:
    own = [Taint(key=GPU, value="present")] if args.compute == "gpu" else []
    return own + [taint for taint in args.taints if taint.key not in {it.key for it in own}]


def _taint(taint: Taint) -> eks.NodeGroupTaintArgs:
    return eks.NodeGroupTaintArgs(
        key=taint.key, value=taint.value or None, effect=_EFFECTS[taint.effect]
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
