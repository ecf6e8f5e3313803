"""The EKS cluster of an aws stack and its node pools."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from berth.spec.errors import Problem, raise_problems
from berth.spec.fields import (
    Cidr,
    LabelKey,
    LabelValue,
    Name,
    PrivateCidr,
    RoleName,
    Section,
    Text,
)
from berth.spec.images import Architecture
from berth.spec.kubernetes import Image

# The g and p families have NVIDIA GPUs. In t4g or m7g, the g is the last letter.
_GPU_INSTANCE = re.compile(r"[gp][0-9]")

AddonName = Literal[
    "amazon-cloudwatch-observability",
    "aws-ebs-csi-driver",
    "coredns",
    "eks-pod-identity-agent",
    "kube-proxy",
    "metrics-server",
    "vpc-cni",
]
AddonVersion = Annotated[
    str,
    Text(
        r"v[0-9]+\.[0-9]+\.[0-9]+-eksbuild\.[0-9]+",
        "an add-on version, such as v1.2.3-eksbuild.1",
    ),
]
PoolName = Annotated[
    str,
    Text(
        r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?",
        "1 to 20 lowercase letters, digits and hyphens, starting with a letter and not ending "
        "with a hyphen",
    ),
]
InstanceType = Annotated[
    str, Text(r"[a-z][a-z0-9-]{1,20}\.[a-z0-9-]{2,20}", "an EC2 instance type, such as m7i.large")
]


class AccessSpec(Section):
    """An IAM role's access to the cluster's API."""

    role: RoleName
    """Name of an IAM role in the stack's account."""
    level: Literal["admin", "edit", "view"] = "view"
    """Permissions of the role: admin for everything, edit to change workloads, view to read."""


class ClusterSpec(Section):
    """The control plane. Berth always encrypts its secrets and enables all of its logs."""

    version: Annotated[
        str, Text(r"1\.(2[89]|[3-9][0-9])", 'a Kubernetes version in quotes, "1.28" or later')
    ] = "1.35"
    """Kubernetes version. A new minor version upgrades the cluster, its add-ons and its nodes, one
    minor version at a time."""
    support: Literal["standard", "extended"] = "standard"
    """Support policy when the version leaves standard support: standard upgrades the cluster,
    extended keeps the version at a higher price."""
    endpoint: Literal["private", "public_and_private"] = "private"
    """Networks that can reach the cluster's API: only the VPC and what is connected to it, or also
    the ranges in `public_cidrs`."""
    public_cidrs: list[Cidr] = Field(default=[], max_length=40)
    """Address ranges on the internet that can reach the cluster's API. If empty with a public
    endpoint, the first `berth up` records the address of its machine here."""
    private_cidrs: list[PrivateCidr] = Field(default=[], max_length=40)
    """Private address ranges that can reach the cluster's API through the VPC: of a VPN, of a
    peered network, or of machines in the VPC itself. Without them, only the cluster's nodes can."""
    service_cidr: PrivateCidr = "172.20.0.0/16"
    """Addresses of services inside the cluster: /12 to /24, separate from the VPC's range."""
    access: dict[Name, AccessSpec] = Field(default={}, max_length=100)
    """IAM roles that may use the cluster's API, by a name that you choose."""
    addons: dict[AddonName, AddonVersion] = Field(default={})
    """Versions of EKS add-ons that replace the ones that Berth pins for `version`."""
    autoscaler_image: Image | None = None
    """Image of the cluster autoscaler. Defaults to the Kubernetes project's image for the cluster's
    version."""

    @model_validator(mode="after")
    def _check(self) -> "ClusterSpec":
        raise_problems(self._problems())
        return self

    def _problems(self) -> Iterator[Problem]:
        public = self.endpoint == "public_and_private"
        if self.public_cidrs and not public:
            yield Problem(
                ("public_cidrs",),
                "has no effect with endpoint: private; remove it, or set "
                "endpoint: public_and_private",
            )
        for index, cidr in enumerate(self.public_cidrs):
            if int(cidr.partition("/")[2]) < 8:
                yield Problem(
                    ("public_cidrs", index),
                    "exposes the cluster's API to most of the internet; use /8 or smaller",
                )
        if not 12 <= int(self.service_cidr.partition("/")[2]) <= 24:
            yield Problem(("service_cidr",), "has a size that EKS does not accept; use /12 to /24")


class TaintSpec(Section):
    """A taint that keeps Pods without a matching toleration off a node."""

    key: LabelKey
    """Key of the taint."""
    value: LabelValue = ""
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"
    """Effect on a Pod that does not tolerate the taint."""


class NodePoolSpec(Section):
    """A managed group of identical nodes that the cluster autoscaler resizes. Nodes run
    Bottlerocket."""

    compute: Literal["cpu", "gpu"] = "cpu"
    """Class of berths that run on these nodes. Berth adds the taint `nvidia.com/gpu` to gpu
    nodes."""
    instance_types: list[InstanceType] = Field(min_length=1, max_length=20)
    """EC2 instance types of similar size, in order of preference."""
    architecture: Architecture = "amd64"
    """CPU architecture of the instance types."""
    min: int = Field(ge=0, le=450)
    """Minimum number of nodes. Set to 0 to let an idle pool scale to zero."""
    desired: int | None = Field(default=None, ge=0, le=450)
    """Number of nodes at creation. Afterwards the cluster autoscaler decides. Defaults to `min`."""
    max: int = Field(ge=1, le=450)
    """Maximum number of nodes."""
    spot: bool = False
    """If true, use Spot Instances, which cost less and which AWS can reclaim with two minutes'
    notice."""
    disk_gib: int = Field(default=50, ge=20, le=16384)
    """Size of each node's encrypted disk for images and logs, in GiB."""
    labels: dict[LabelKey, LabelValue] = Field(default={}, max_length=50)
    """Labels of the nodes."""
    taints: list[TaintSpec] = Field(default=[], max_length=50)
    """Taints of the nodes."""

    @property
    def initial(self) -> int:
        """Number of nodes at creation."""
        return self.min if self.desired is None else self.desired

    @model_validator(mode="after")
    def _check(self) -> "NodePoolSpec":
        raise_problems(self._problems())
        return self

    def _problems(self) -> Iterator[Problem]:
        sizes = [("min", self.min), ("desired", self.desired), ("max", self.max)]
        defined = [(name, size) for name, size in sizes if size is not None]
        for (low, smaller), (high, larger) in pairwise(defined):
            if smaller > larger:
                yield Problem((low,), f"exceeds {high} ({larger}); min <= desired <= max must hold")
        for index, instance_type in enumerate(self.instance_types):
            has_gpu = _GPU_INSTANCE.match(instance_type) is not None
            if has_gpu != (self.compute == "gpu"):
                yield Problem(
                    ("instance_types", index),
                    f"cannot be combined with compute: {self.compute}; "
                    + (
                        "use a type of the g or p families"
                        if self.compute == "gpu"
                        else "use a type outside the g and p families, or set compute: gpu"
                    ),
                )
