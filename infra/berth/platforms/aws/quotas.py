"""What a stack needs of the account's quotas, and what a new account has of them.

The numbers of AWS are in `tables/quotas.json`, with their sources. A check against the quotas of a
real account passes their current values to `find_shortages`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from berth.platforms.aws.capacity import read_instance_types
from berth.platforms.aws.tables import read_table
from berth.spec import HostingSpec, NodePoolSpec
from pulumi_berth.aws.cluster_addons import IDENTITIES
from pulumi_berth.aws.eks_versions import AFTER_NODES, BEFORE_NODES

ListQuotas = Callable[[str, str | None], Mapping[str, float] | None]
"""Lists the quotas of a service in a Region by code. None if they cannot be listed."""

# Rules of a web ACL next to the managed rule groups: the rate limit (2), the edge header (at most
# 10) and the body size (3 for a regular expression of one header).
_OWN_RULE_UNITS = 15
# Of the cluster, its nodes, the autoscaler, the VPC flow log, and API Gateway's logs.
_FIXED_ROLES = 5
_FAMILY = re.compile(r"[a-z]+")


@dataclass(frozen=True, kw_only=True)
class Quota:
    """A quota of an account and Region.

    Attributes:
        key: Name of the quota in this module, such as `elastic_ips`.
        region: Region that has the quota of a global service. None for the stack's Region.
        service: Service code of the Service Quotas API.
        code: Quota code, such as `L-0263D0A3`, or None if the API does not list the quota.
        default: Value in a new account.
        name: Name in the AWS console.
    """

    key: str
    service: str
    code: str | None
    default: int
    name: str
    region: str | None = None


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """A quota that is too small for a stack.

    Attributes:
        quota: The quota.
        needed: What the stack needs.
        value: Value of the quota.
        used: What the account uses already, without this stack.
        is_blocking: Whether the first update needs it. Otherwise the stack needs it to grow.
    """

    quota: Quota
    needed: int
    value: int
    used: int
    is_blocking: bool

    @property
    def available(self) -> int:
        """What the account has left."""
        return self.value - self.used

    def describe(self, region: str) -> str:
        """Return one line: the quota, the numbers, and how to request an increase.

        Args:
            region: Region of the stack.
        """
        region = self.quota.region or region
        when = "to start" if self.is_blocking else "to grow to the maximum of its node pools"
        line = (
            f"{self.quota.name}: the stack needs {self.needed} {when}, and the account has "
            f"{self.available} left in {region}."
        )
        if self.quota.code is None:
            return line
        return (
            f"{line} Request {self.needed + self.used} at https://{region}.console.aws.amazon.com/"
            f"servicequotas/home/services/{self.quota.service}/quotas/{self.quota.code}."
        )


def read_quotas() -> dict[str, Quota]:
    """Return the quotas that a stack can exhaust, by key."""
    return {key: Quota(key=key, **entry) for key, entry in read_table("quotas")["quotas"].items()}


def read_values(quotas: Iterable[Quota], list_quotas: ListQuotas) -> dict[str, float]:
    """Return the account's value of each quota by key, with one listing for each service.

    A service does not list a quota that has its default value only
    (https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html).
    Its value is then the documented default. A quota of a service that cannot be listed is missing.

    Args:
        list_quotas: Returns the listed quotas of a service in a Region by code, or None.
    """
    by_service: dict[tuple[str, str | None], list[Quota]] = {}
    for quota in quotas:
        if quota.code is not None:
            by_service.setdefault((quota.service, quota.region), []).append(quota)
    values: dict[str, float] = {}
    for (service, region), group in by_service.items():
        if (listed := list_quotas(service, region)) is not None:
            values |= {one.key: listed.get(str(one.code), one.default) for one in group}
    return values


def count_initial(spec: HostingSpec) -> dict[str, int]:
    """Return what the first update of a stack needs, by quota."""
    return {**_count_resources(spec), **_count_vcpus(spec, at_maximum=False)}


def count_largest(spec: HostingSpec) -> dict[str, int]:
    """Return what a stack needs with all node pools at their maximum, by quota."""
    return {**_count_resources(spec), **_count_vcpus(spec, at_maximum=True)}


def find_shortages(
    spec: HostingSpec,
    *,
    values: Mapping[str, float] | None = None,
    used: Mapping[str, float] | None = None,
) -> list[Shortage]:
    """Return the quotas that are too small for a stack, those that block the first update first.

    Args:
        values: Values of the account's quotas by key. A missing one has the default of a new
            account.
        used: What the account uses of each quota already, without this stack. Defaults to nothing.
    """
    initial, largest = count_initial(spec), count_largest(spec)
    shortages = []
    for key, quota in read_quotas().items():
        value = int((values or {}).get(key, quota.default))
        taken = int((used or {}).get(key, 0))
        for needed, is_blocking in ((initial.get(key, 0), True), (largest.get(key, 0), False)):
            if needed > value - taken:
                shortages.append(
                    Shortage(
                        quota=quota, needed=needed, value=value, used=taken, is_blocking=is_blocking
                    )
                )
                break
    return sorted(shortages, key=lambda shortage: not shortage.is_blocking)


def find_vcpu_quota(pool: NodePoolSpec) -> str:
    """Return the key of the quota that the instances of a pool count against."""
    family = _FAMILY.match(pool.instance_types[0])
    letter = family[0][0] if family else ""
    group = letter if letter in ("g", "p") else "standard"
    return f"{group}_{'spot' if pool.spot else 'on_demand'}_vcpus"


def count_web_acl_units(spec: HostingSpec) -> int:
    """Return the capacity units of each of the stack's web ACLs."""
    units: Mapping[str, int] = read_table("quotas")["rule_group_capacity_units"]
    return _OWN_RULE_UNITS + sum(units[name] for name in spec.api.waf.managed_rule_groups)


def _count_resources(spec: HostingSpec) -> dict[str, int]:
    zones = spec.network.availability_zones
    gateways = zones if spec.network.nat == "per_zone" else 1
    return {
        "elastic_ips": gateways,
        "vpcs": 1,
        "nat_gateways_per_zone": 1,
        "interface_endpoints_per_vpc": len(spec.network.interface_endpoints),
        "eks_clusters": 1,
        "node_groups_per_cluster": len(spec.node_pools),
        "nodes_per_node_group": max((pool.max for pool in spec.node_pools.values()), default=0),
        "network_load_balancers": 1,
        "regional_apis": 1,
        "usage_plans": len(spec.gateway.clients),
        "api_domain_names": sum(
            domain is not None for domain in (spec.api.domain, spec.edge.latency_routing)
        ),
        "vpc_links": 1,
        "web_acl_capacity_units": count_web_acl_units(spec),
        "distributions": int(spec.edge.cdn is not None),
        "roles": _count_roles(spec),
    }


def _count_roles(spec: HostingSpec) -> int:
    """Return the IAM roles of a stack: of the cluster and its Pods, of logs, and of a replica."""
    addons = {*AFTER_NODES, *BEFORE_NODES, *map(str, spec.cluster.addons)}
    return _FIXED_ROLES + len(addons & set(IDENTITIES)) + int(spec.data.replica_region is not None)


def _count_vcpus(spec: HostingSpec, *, at_maximum: bool) -> dict[str, int]:
    """Return the vCPUs of all pools by quota. A pool may get the largest of its instance types."""
    types = read_instance_types()
    vcpus: Counter[str] = Counter()
    for pool in spec.node_pools.values():
        known = [types[name]["vcpus"] for name in pool.instance_types if name in types]
        nodes = pool.max if at_maximum else pool.initial
        vcpus[find_vcpu_quota(pool)] += nodes * max(known, default=0)
    return dict(vcpus)
