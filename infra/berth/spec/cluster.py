"""The EKS cluster of an aws stack."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from berth.spec.cidr import Cidr, PrivateCidr
from berth.spec.errors import Problem, refuse
from berth.spec.kubernetes import Image
from berth.spec.section import Section
from berth.spec.text import Name, RoleName, Text

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
    Text(r"v[0-9]+\.[0-9]+\.[0-9]+-eksbuild\.[0-9]+", "an add-on version: v1.2.3-eksbuild.1"),
]


class AccessSpec(Section):
    """Who may do what in the cluster."""

    role: RoleName
    """Name of an IAM role of the stack's account."""
    level: Literal["admin", "edit", "view"] = "view"
    """What the role may do: everything, change what runs, or look."""


class ClusterSpec(Section):
    """The control plane. Its secrets are encrypted and all its logs are kept, always."""

    version: Annotated[
        str, Text(r"1\.(2[89]|[3-9][0-9])", 'a Kubernetes version in quotes, "1.28" or newer')
    ] = "1.35"
    """Kubernetes version."""
    support: Literal["standard", "extended"] = "standard"
    """What happens at the version's end of standard support: standard upgrades the cluster,
    extended keeps the version at a higher price."""
    endpoint: Literal["private", "public_and_private"] = "private"
    """From where the cluster's API is reached: the VPC alone, or the ranges in `public_cidrs`
    too."""
    public_cidrs: list[Cidr] = Field(default=[], max_length=40)
    """Ranges that reach the cluster's API from outside."""
    service_cidr: PrivateCidr = "172.20.0.0/16"
    """Addresses of services inside the cluster: /12 to /24, apart from the VPC's."""
    access: dict[Name, AccessSpec] = Field(default={}, max_length=100)
    """IAM roles that may use the cluster's API, by a name of your choice."""
    addons: dict[AddonName, AddonVersion] = Field(default={})
    """Pinned versions of EKS add-ons; EKS's default for the cluster's version for one that is not
    named."""
    autoscaler_image: Image | None = None
    """The cluster autoscaler's image; the Kubernetes project's own for the cluster's version when
    omitted."""

    @model_validator(mode="after")
    def _check(self) -> "ClusterSpec":
        refuse(self._problems())
        return self

    def _problems(self) -> Iterator[Problem]:
        public = self.endpoint == "public_and_private"
        if public and not self.public_cidrs:
            yield Problem(
                ("public_cidrs",),
                "is empty; name the ranges that may reach the public endpoint, or take "
                "endpoint: private",
                False,
            )
        if self.public_cidrs and not public:
            yield Problem(
                ("public_cidrs",),
                "has no effect with endpoint: private; take it out, or take "
                "endpoint: public_and_private",
            )
        for index, cidr in enumerate(self.public_cidrs):
            if int(cidr.partition("/")[2]) < 8:
                yield Problem(
                    ("public_cidrs", index), "opens the cluster's API to the world; /8 or smaller"
                )
        if not 12 <= int(self.service_cidr.partition("/")[2]) <= 24:
            yield Problem(("service_cidr",), "has a size that EKS does not take; /12 to /24")
