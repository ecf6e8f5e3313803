"""How much of the internet address ranges cover."""

import ipaddress
from collections.abc import Iterable
from itertools import chain

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Addresses that are not routed on the internet: RFC 1918, RFC 6598, RFC 4193, link-local addresses.
_PRIVATE = [
    ipaddress.ip_network(cidr)
    for cidr in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8",
        "169.254.0.0/16", "fc00::/7", "fe80::/10", "::1/128",
    )
]  # fmt: skip
# As `berth:cluster.public_cidrs`: a /8 is the largest block that one organization has. IPv6 blocks
# of organizations are /32 or smaller.
_MOST_ADDRESSES = {4: 2 ** (32 - 8), 6: 2 ** (128 - 32)}


def find_excess(cidrs: Iterable[str]) -> str | None:
    """Return why these ranges together cover too much of the internet, or None.

    A text that is not a range is also a reason: nobody can say what it covers.
    """
    networks: list[Network] = []
    for cidr in cidrs:
        try:
            networks.append(ipaddress.ip_network(cidr, strict=False))
        except ValueError:
            return f"{cidr!r} is not an address range"
    for version, most in _MOST_ADDRESSES.items():
        public = [one for one in networks if one.version == version and not _is_private(one)]
        merged = list(_collapse(public))
        if sum(one.num_addresses for one in merged) > most:
            return ", ".join(str(one) for one in merged[:4])
    return None


def _is_private(network: Network) -> bool:
    return any(
        network.version == private.version and network.subnet_of(private)  # type: ignore[arg-type]
        for private in _PRIVATE
    )


def _collapse(networks: list[Network]) -> Iterable[Network]:
    four = [one for one in networks if isinstance(one, ipaddress.IPv4Network)]
    six = [one for one in networks if isinstance(one, ipaddress.IPv6Network)]
    return chain(ipaddress.collapse_addresses(four), ipaddress.collapse_addresses(six))
