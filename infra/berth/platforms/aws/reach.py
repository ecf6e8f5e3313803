"""Whether the machine that runs `up` reaches the cluster's API: address, security group, endpoint.

The API's public endpoint admits `cluster.public_cidrs`. The private endpoint is in the VPC, behind
the cluster's security group: that admits its members and `cluster.private_cidrs`, on port 443
(https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html).
"""

import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from berth.platforms.aws.access import stack_prefix
from berth.spec import HostingSpec

PORT = 443
ADDRESS_URL = "https://checkip.amazonaws.com"
"""Returns the address from which a request comes. AWS runs it."""
_TIMEOUT_SECONDS = 5.0
# The longest IPv6 address has 45 characters.
_MAX_ADDRESS_BYTES = 64
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The addresses of this machine.

    Attributes:
        public: Address that the internet sees, or None if it could not be found out.
        local: Address from which it sends to the VPC.
    """

    public: str | None
    local: str | None


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The endpoint of a cluster that exists.

    Attributes:
        host: Host name of the API.
        public_cidrs: Ranges that its public endpoint admits. Empty without a public endpoint.
    """

    host: str
    public_cidrs: tuple[str, ...]


def explain_unreachable(
    spec: HostingSpec, stack: str, caller: Caller, endpoint: Endpoint | None
) -> str | None:
    """Return why the caller cannot reach the API and what to do, or None if it can.

    Args:
        stack: The stack's name.
        endpoint: Endpoint of the deployed cluster. None before the first update.
    """
    cluster = spec.cluster
    is_public = cluster.endpoint == "public_and_private"
    admitted = tuple(cluster.public_cidrs) if is_public else ()
    if endpoint is None:
        if not is_public:
            return (
                "cluster.endpoint is private, but no machine can be in the VPC before this update "
                "creates it; set cluster.endpoint: public_and_private for the first update."
            )
        if caller.public is not None and not _contains(admitted, caller.public):
            return (
                f"This machine has the address {caller.public}, which is not in "
                f"cluster.public_cidrs ({', '.join(admitted) or 'none'}); add {caller.public}/32."
            )
        return None
    if caller.local is not None and _contains(cluster.private_cidrs, caller.local):
        return None
    if caller.public is None or _contains(endpoint.public_cidrs, caller.public):
        return None
    if caller.local is not None and _contains([spec.network.cidr], caller.local):
        return (
            f"This machine has the address {caller.local} in the VPC, but the cluster's security "
            "group admits only its members and cluster.private_cidrs on port 443; add "
            f"{caller.local}/32 from a machine that reaches the cluster."
        )
    if not is_public and not endpoint.public_cidrs:
        return (
            f"The cluster's endpoint is private, and this machine, with the address "
            f"{caller.public}, is not in its network; use a machine in cluster.private_cidrs "
            f"({', '.join(cluster.private_cidrs) or 'none'}), or connect this one to that network."
        )
    return _explain_refused(spec, stack, caller.public, endpoint)


def _explain_refused(spec: HostingSpec, stack: str, address: str, endpoint: Endpoint) -> str:
    """Return how to let the deployed cluster's public endpoint admit an address."""
    region, cluster = str(spec.aws["region"]), stack_prefix(stack)
    is_listed = _contains(spec.cluster.public_cidrs, address)
    first = "" if is_listed else f"add {address}/32 to cluster.public_cidrs, and "
    return (
        f"This machine has the address {address}, and the cluster's public endpoint admits "
        f"{', '.join(endpoint.public_cidrs) or 'none'}; {first}run 'berth up -s {stack}' on a "
        f"machine that it admits. If you have none, admit {address}/32 at "
        f"https://{region}.console.aws.amazon.com/eks/home?region={region}#/clusters/{cluster} "
        f"(Networking, Manage endpoint access), then run 'berth refresh -s {stack}'."
    )


def _contains(ranges: Iterable[str], address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed in ipaddress.ip_network(one) for one in ranges)


def find_public_address() -> str | None:
    """Return the IPv4 address from which this machine's requests reach AWS, or None."""
    import httpx

    try:
        with (
            httpx.Client(timeout=_TIMEOUT_SECONDS) as client,
            client.stream("GET", ADDRESS_URL) as response,
        ):
            response.raise_for_status()
            content = b""
            for chunk in response.iter_bytes(_MAX_ADDRESS_BYTES):
                content += chunk
                if len(content) > _MAX_ADDRESS_BYTES:
                    return None
        return str(ipaddress.IPv4Address(content.decode("ascii").strip()))
    except (httpx.HTTPError, UnicodeDecodeError, ValueError):
        return None


def find_local_address(network: str) -> str | None:
    """Return the address from which this machine would send to a network. No packet is sent."""
    target = str(ipaddress.IPv4Network(network)[1])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((target, PORT))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def find_caller(spec: HostingSpec) -> Caller:
    """Return the addresses of this machine."""
    return Caller(public=find_public_address(), local=find_local_address(spec.network.cidr))


def has_proxy() -> bool:
    """Return whether clients of the API use a proxy, whose addresses this machine does not know."""
    return any(os.environ.get(name) for name in _PROXIES)


def accepts_connections(host: str) -> bool:
    """Return whether a connection to the API's port succeeds within seconds."""
    try:
        with socket.create_connection((host, PORT), timeout=_TIMEOUT_SECONDS):
            return True
    except OSError:
        return False


def read_endpoint(cluster: Mapping[str, object]) -> Endpoint:
    """Return the endpoint of a cluster, as eks:DescribeCluster returned the cluster."""
    network = cluster["resourcesVpcConfig"]
    assert isinstance(network, Mapping)
    ranges: Sequence[str] = network.get("publicAccessCidrs") or ()
    return Endpoint(
        host=urlsplit(str(cluster["endpoint"])).hostname or "",
        public_cidrs=tuple(ranges) if network.get("endpointPublicAccess") else (),
    )
