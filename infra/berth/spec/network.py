"""The virtual network of an aws stack."""

import ipaddress
from typing import Literal

from pydantic import Field, model_validator

from berth.spec.cidr import PrivateCidr
from berth.spec.errors import Problem, refusal
from berth.spec.observability import RetentionDays
from berth.spec.section import Section

# A pod takes an address of its subnet: a smaller subnet starves the cluster.
_SMALLEST_SUBNET = 24

Endpoint = Literal[
    "autoscaling",
    "ec2",
    "ecr.api",
    "ecr.dkr",
    "eks",
    "eks-auth",
    "elasticloadbalancing",
    "kms",
    "logs",
    "monitoring",
    "sts",
]


class NetworkSpec(Section):
    """A VPC with a private and a public subnet in each availability zone."""

    cidr: PrivateCidr = "10.20.0.0/16"
    """Addresses of the VPC: private ones, /16 or smaller, with room for a /24 per subnet."""
    availability_zones: int = Field(default=3, ge=2, le=6)
    """Zones that the stack spreads over."""
    nat: Literal["single", "per_zone"] = "single"
    """NAT gateways: a single one costs less, one per zone survives the loss of a zone."""
    interface_endpoints: list[Endpoint] = Field(
        default=["ecr.api", "ecr.dkr", "logs", "sts"], max_length=11
    )
    """AWS services that are reached without leaving AWS's network; each costs per hour and zone.
    S3 always is, at no cost."""
    flow_log_days: RetentionDays = 30
    """Days that the log of connections is kept."""

    @model_validator(mode="after")
    def _fits(self) -> "NetworkSpec":
        prefix = ipaddress.IPv4Network(self.cidr).prefixlen
        subnets = 2 * self.availability_zones
        longest = _SMALLEST_SUBNET - (subnets - 1).bit_length()
        if prefix < 16:
            raise refusal(Problem(("cidr",), "is larger than AWS allows for a VPC; /16 or smaller"))
        if prefix > longest:
            raise refusal(
                Problem(
                    ("cidr",),
                    f"is too small for {subnets} subnets (a private and a public one in each "
                    f"of {self.availability_zones} zones) of /{_SMALLEST_SUBNET}; "
                    f"/16 to /{longest}",
                )
            )
        return self
