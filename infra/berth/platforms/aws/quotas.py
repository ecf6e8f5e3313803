"""What a stack needs of the account's quotas, and what a new account has of them."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from berth.spec import HostingSpec


@dataclass(frozen=True, kw_only=True)
class Quota:
    """A quota of an account and Region.

    Attributes:
        key: Name of the quota in this module.
        service: Service code of the Service Quotas API.
        code: Quota code, or None if the API does not list the quota.
        default: Value in a new account.
        name: Name in the AWS console.
    """

    key: str
    service: str
    code: str | None
    default: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """A quota that is too small for a stack.

    Attributes:
        quota: The quota.
        needed: What the stack needs.
        available: Value of the quota, less what the account uses already.
        is_blocking: Whether the first update needs it. Otherwise the stack needs it to grow.
    """

    quota: Quota
    needed: int
    available: int
    is_blocking: bool

    def describe(self, region: str) -> str:
        """Return the quota, the numbers, and the command that requests an increase."""
        when = "to start" if self.is_blocking else "to grow to the maximum of its node pools"
        line = (
            f"{self.quota.name}: the stack needs {self.needed} {when}, and the account has "
            f"{self.available} left in {region}."
        )
        if self.quota.code is None:
            return line
        return (
            f"{line} Run 'aws service-quotas request-service-quota-increase --region {region} "
            f"--service-code {self.quota.service} --quota-code {self.quota.code} "
            f"--desired-value {self.needed + self.quota.default - min(self.available, 0)}'."
        )


# Values of a new account and codes, read 2026-11-26:
# https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html,
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-limits.html and
# https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html.
_QUOTAS = (
    ("standard_on_demand_vcpus", "ec2", "L-1216C47A", 5, "On-Demand Standard instances, in vCPUs"),
    ("standard_spot_vcpus", "ec2", "L-34B43A08", 5, "Standard Spot Instances, in vCPUs"),
    ("g_on_demand_vcpus", "ec2", "L-DB2E81BA", 0, "On-Demand G and VT instances, in vCPUs"),
    ("g_spot_vcpus", "ec2", "L-3819A6DF", 0, "G and VT Spot Instances, in vCPUs"),
    ("elastic_ips", "ec2", "L-0263D0A3", 5, "EC2-VPC Elastic IPs"),
    ("vpcs", "vpc", "L-F678F1CE", 5, "VPCs per Region"),
    ("eks_clusters", "eks", "L-1194D53C", 100, "Clusters"),
    ("regional_apis", "apigateway", "L-AA0FF27B", 600, "Regional APIs"),
)
# vCPUs of an instance by size: https://aws.amazon.com/ec2/instance-types/
_VCPUS = {"large": 2, "xlarge": 4}


def read_quotas() -> dict[str, Quota]:
    """Return the quotas that a stack can exhaust, by key."""
    return {
        key: Quota(key=key, service=service, code=code, default=default, name=name)
        for key, service, code, default, name in _QUOTAS
    }


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
    initial, largest = _count(spec, at_maximum=False), _count(spec, at_maximum=True)
    shortages = []
    for key, quota in read_quotas().items():
        value = (values or {}).get(key, quota.default)
        available = math.floor(value - (used or {}).get(key, 0))
        for needed, is_blocking in ((initial[key], True), (largest[key], False)):
            if needed > available:
                shortages.append(
                    Shortage(
                        quota=quota, needed=needed, available=available, is_blocking=is_blocking
                    )
                )
                break
    return sorted(shortages, key=lambda shortage: not shortage.is_blocking)


def _count(spec: HostingSpec, *, at_maximum: bool) -> Counter[str]:
    zones = spec.network.availability_zones
    gateways = zones if spec.network.nat == "per_zone" else 1
    counts = Counter(elastic_ips=gateways, vpcs=1, eks_clusters=1, regional_apis=1)
    for pool in spec.node_pools.values():
        group = "g" if pool.compute == "gpu" else "standard"
        kind = "spot" if pool.spot else "on_demand"
        nodes = pool.max if at_maximum else pool.initial
        counts[f"{group}_{kind}_vcpus"] += nodes * max(map(_read_vcpus, pool.instance_types))
    return counts


def _read_vcpus(instance_type: str) -> int:
    size = instance_type.partition(".")[2]
    factor = size.removesuffix("xlarge")
    return _VCPUS.get(size, 4 * int(factor) if factor.isdigit() else 2)
