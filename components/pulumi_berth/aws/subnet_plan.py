"""The subnets of a VPC, as plain data."""

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True)
class ZoneSubnets:
    """The subnets of one availability zone.

    Attributes:
        zone: Name of the zone, such as `eu-central-1a`.
        private: Address range of nodes and Pods.
        public: Address range of resources with a public address: NAT gateways.
    """

    zone: str
    private: str
    public: str


def subnet_plan(cidr: str, zones: list[str]) -> list[ZoneSubnets]:
    """Return the subnets of each zone. They do not overlap.

    The VPC has 4 equal blocks for up to 3 zones, or 8 blocks for up to 7 zones. Each private subnet
    is one block. The last block is divided the same way into public subnets, which need few
    addresses. Adding a zone within 3, or within 7, changes no existing subnet: AWS replaces a
    subnet whose range changes, with every node in it.

    Args:
        cidr: Address range of the VPC.
        zones: Names of 1 to 7 zones.

    Raises:
        ValueError: If the number of zones is not 1 to 7, or a public subnet would be smaller than
            /28, the minimum of AWS
            (https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html).
    """
    if not 1 <= len(zones) <= 7:
        raise ValueError(f"{len(zones)} zones are not supported; use 1 to 7")
    network = ipaddress.IPv4Network(cidr)
    bits = 2 if len(zones) <= 3 else 3
    if network.prefixlen + 2 * bits > 28:
        raise ValueError(
            f"{cidr} is too small for {len(zones)} zones; use /{28 - 2 * bits} or larger"
        )
    blocks = list(network.subnets(prefixlen_diff=bits))
    public = list(blocks[-1].subnets(prefixlen_diff=bits))
    return [
        ZoneSubnets(zone, private=str(blocks[index]), public=str(public[index]))
        for index, zone in enumerate(zones)
    ]
