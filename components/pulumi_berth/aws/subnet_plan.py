"""How the addresses of a VPC are cut into subnets."""

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True)
class ZoneSubnets:
    """The subnets of one availability zone.

    Attributes:
        zone: such as `eu-central-1a`.
        private: range of nodes and pods.
        public: range of what reaches the internet by itself: NAT gateways.
    """

    zone: str
    private: str
    public: str


def subnet_plan(cidr: str, zones: list[str]) -> list[ZoneSubnets]:
    """The subnets of each zone, none overlapping another.

    The VPC is cut into 4 equal blocks for up to 3 zones, into 8 for up to 7: a private subnet is
    one block, and the last block is cut again, as often, for the public ones, which need few
    addresses. A zone that is added within 3, or within 7, moves nothing that is there: a subnet
    whose range changes is a new subnet, with every node in it.

    Args:
        cidr: of the VPC.
        zones: names, 1 to 7.

    Raises:
        ValueError: not 1 to 7 zones, or a public subnet would be smaller than /28, the smallest
            that AWS has (https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html).
    """
    if not 1 <= len(zones) <= 7:
        raise ValueError(f"{len(zones)} zones; 1 to 7")
    network = ipaddress.IPv4Network(cidr)
    bits = 2 if len(zones) <= 3 else 3
    if network.prefixlen + 2 * bits > 28:
        raise ValueError(f"{cidr} is too small for {len(zones)} zones; /{28 - 2 * bits} or larger")
    blocks = list(network.subnets(prefixlen_diff=bits))
    public = list(blocks[-1].subnets(prefixlen_diff=bits))
    return [
        ZoneSubnets(zone, private=str(blocks[index]), public=str(public[index]))
        for index, zone in enumerate(zones)
    ]
