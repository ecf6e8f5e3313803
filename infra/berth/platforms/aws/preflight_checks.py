"""The single checks of `berth preflight` on AWS. Each only reads, and yields what it finds."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from berth.platforms.aws.access import limit_requests, stack_prefix
from berth.platforms.aws.account import ZONES_WITHOUT_EKS
from berth.platforms.aws.errors import MISSING_CLUSTER, REQUEST_ERRORS, get_code
from berth.platforms.aws.permissions import ACTIONS, find_denied, find_principal
from berth.platforms.aws.quotas import find_shortages, read_quotas, read_values
from berth.platforms.preflight import Finding, Status
from berth.platforms.stack_context import StackContext
from berth.spec import DomainSpec, HostingSpec
from pulumi_berth.aws_identity import STACK_TAG, AwsIdentity

_MISSING_ROLE = "NoSuchEntity"
_BILLING_REGION = "us-east-1"
# The most that ListServiceQuotas returns at once.
_QUOTAS_PER_PAGE = 100
# Names that never exist: https://www.rfc-editor.org/rfc/rfc2606
_RESERVED = ("example", "invalid", "localhost", "test")
_RESERVED_DOMAINS = ("example.com", "example.net", "example.org")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the checks look at: a stack, and clients of its account.

    Attributes:
        context: The stack.
        identity: The stack's AWS identity.
    """

    context: StackContext
    identity: AwsIdentity

    @property
    def spec(self) -> HostingSpec:
        """The stack's specification."""
        return self.context.spec

    @property
    def region(self) -> str:
        """The stack's Region."""
        return str(self.spec.aws["region"])

    def client(self, service: str, region: str | None = None) -> Any:
        """Return a client whose requests end within seconds."""
        return self.identity.create_client(
            service, region=region or self.region, config=limit_requests()
        )


Check = Callable[[Subject], Iterable[Finding]]


def check_permissions(subject: Subject) -> Iterator[Finding]:
    """Simulate the policies of the caller for the actions of an update."""
    check, iam = "permissions", subject.client("iam")
    caller = subject.client("sts").get_caller_identity()["Arn"]
    principal = find_principal(caller, iam)
    if principal is None:
        detail = f"{caller} has no policies that IAM can simulate."
        yield Finding(check=check, status=Status.NOT_CHECKED, detail=detail)
        return
    if denied := find_denied(principal, iam):
        fix = f"Allow {principal} these actions, or use a role that has them."
        detail = f"{len(denied)} of {len(ACTIONS)} actions are denied: {', '.join(denied)}."
        yield Finding(check=check, status=Status.FAILED, detail=detail, fix=fix)
        return
    detail = (
        f"The policies of {principal} allow {len(ACTIONS)} actions of an update. Conditions and "
        "policies of the organization are not simulated."
    )
    yield Finding(check=check, status=Status.PASSED, detail=detail)


def check_quotas(subject: Subject) -> Iterator[Finding]:
    """Compare the account's quotas with what the stack needs."""
    quotas = [one for one in read_quotas().values() if one.code is not None]
    values = read_values(quotas, lambda service, region: _list_quotas(subject, service, region))
    used, uncounted = _count_used(subject)
    # A deployed stack is part of what the account uses.
    is_new = used.pop("stack", 1.0) == 0
    blocking = Status.FAILED if is_new else Status.WARNING
    shortages = [
        one
        for one in find_shortages(subject.spec, values=values, used=used if is_new else {})
        if one.quota.code is None or one.quota.key in values
    ]
    for one in shortages:
        status = blocking if one.is_blocking else Status.WARNING
        yield Finding(check="quotas", status=status, detail=one.describe(subject.region))
    if values and not shortages:
        detail = f"{len(values)} quotas of the account are large enough."
        yield Finding(check="quotas", status=Status.PASSED, detail=detail)
    unread = [one.name for one in quotas if one.key not in values]
    if unread:
        detail = f"The account did not tell {len(unread)} quotas: {'; '.join(unread)}."
        yield Finding(check="quotas", status=Status.NOT_CHECKED, detail=detail)
    if uncounted:
        detail = f"The account did not tell how much it uses of {', '.join(uncounted)}."
        yield Finding(check="quotas", status=Status.NOT_CHECKED, detail=detail)


def _list_quotas(subject: Subject, service: str, region: str | None) -> dict[str, float] | None:
    """Return the values of a service's quotas by code, or None if AWS does not list them."""
    client = subject.client("service-quotas", region)
    try:
        pages = client.get_paginator("list_service_quotas").paginate(
            ServiceCode=service, PaginationConfig={"PageSize": _QUOTAS_PER_PAGE}
        )
        return {
            one["QuotaCode"]: float(one["Value"])
            for page in pages
            for one in page["Quotas"]
            if "Value" in one
        }
    except REQUEST_ERRORS:
        return None


def _count_used(subject: Subject) -> tuple[dict[str, float], list[str]]:
    """Return how much of the scarcest quotas the account uses, and what it does not tell.

    The entry `stack` is the number of clusters of this stack.
    """
    name = stack_prefix(subject.context.stack)
    used: dict[str, float] = {}

    def count_clusters() -> None:
        pages = subject.client("eks").get_paginator("list_clusters").paginate()
        clusters = [cluster for page in pages for cluster in page["clusters"]]
        used.update(eks_clusters=len(clusters), stack=clusters.count(name))

    def count_network() -> None:
        ec2 = subject.client("ec2")
        used["elastic_ips"] = len(ec2.describe_addresses()["Addresses"])
        used["vpcs"] = sum(
            len(page["Vpcs"]) for page in ec2.get_paginator("describe_vpcs").paginate()
        )

    def count_roles() -> None:
        used["roles"] = subject.client("iam").get_account_summary()["SummaryMap"]["Roles"]

    uncounted = []
    for what, count in (
        ("clusters", count_clusters),
        ("addresses and VPCs", count_network),
        ("roles", count_roles),
    ):
        try:
            count()
        except REQUEST_ERRORS:
            uncounted.append(what)
    return used, uncounted


def check_zones(subject: Subject) -> Iterator[Finding]:
    """Compare the Availability Zones and the instance types in them with the stack's."""
    ec2, count = subject.client("ec2"), subject.spec.network.availability_zones
    found = ec2.describe_availability_zones(
        Filters=[
            {"Name": "opt-in-status", "Values": ["opt-in-not-required"]},
            {"Name": "state", "Values": ["available"]},
        ]
    )["AvailabilityZones"]
    zones = sorted(one["ZoneName"] for one in found if one.get("ZoneId") not in ZONES_WITHOUT_EKS)
    if len(zones) < count:
        detail = f"{subject.region} has {len(zones)} zones for this account, not {count}."
        fix = f"Set network.availability_zones to {len(zones)}."
        yield Finding(check="zones", status=Status.FAILED, detail=detail, fix=fix)
    else:
        detail = f"{subject.region} has {', '.join(zones[:count])}."
        yield Finding(check="zones", status=Status.PASSED, detail=detail)
    yield from _check_types(subject.spec, ec2, zones[:count])


def _check_types(spec: HostingSpec, ec2: Any, zones: list[str]) -> Iterator[Finding]:
    types = sorted({name for pool in spec.node_pools.values() for name in pool.instance_types})
    offered: dict[str, set[str]] = {}
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": types}]
    )
    for page in pages:
        for one in page["InstanceTypeOfferings"]:
            offered.setdefault(one["InstanceType"], set()).add(one["Location"])
    has_problem = False
    for name, pool in spec.node_pools.items():
        for zone in zones:
            present = [one for one in pool.instance_types if zone in offered.get(one, ())]
            missing = [one for one in pool.instance_types if one not in present]
            if missing:
                has_problem = True
                yield Finding(
                    check="instance-types",
                    status=Status.WARNING if present else Status.FAILED,
                    detail=f"{zone} does not offer {', '.join(missing)} of pool {name}.",
                    fix=f"Add a type to node_pools.{name}.instance_types that it offers, or change "
                    "network.availability_zones.",
                )
    if not has_problem:
        detail = f"Every zone offers {', '.join(types)}."
        yield Finding(check="instance-types", status=Status.PASSED, detail=detail)


def check_roles(subject: Subject) -> Iterator[Finding]:
    """Check that the roles of access entries exist: EKS refuses others."""
    iam, access = subject.client("iam"), subject.spec.cluster.access
    for name, entry in access.items():
        try:
            iam.get_role(RoleName=entry.role.rpartition("/")[2])
        except ClientError as error:
            if get_code(error) != _MISSING_ROLE:
                raise
            fix = f"Create the role, or remove cluster.access.{name}."
            detail = f"The account has no IAM role {entry.role}, which cluster.access.{name} names."
            yield Finding(check="roles", status=Status.FAILED, detail=detail, fix=fix)
        else:
            detail = f"Role {entry.role} of cluster.access.{name} exists."
            yield Finding(check="roles", status=Status.PASSED, detail=detail)
    if not access:
        detail = "cluster.access is empty: only the identity that creates the cluster can use it."
        fix = "Add IAM roles to let other people use kubectl."
        yield Finding(check="roles", status=Status.OPTIONAL, detail=detail, fix=fix)


def check_upgrade(subject: Subject) -> Iterator[Finding]:
    """Report what EKS found in the cluster that the next Kubernetes version no longer supports.

    https://docs.aws.amazon.com/eks/latest/userguide/cluster-insights.html
    """
    eks, name = subject.client("eks"), stack_prefix(subject.context.stack)
    try:
        version = eks.describe_cluster(name=name)["cluster"]["version"]
    except ClientError as error:
        if get_code(error) == MISSING_CLUSTER:
            return  # This update creates it.
        raise
    pages = eks.get_paginator("list_insights").paginate(
        clusterName=name, filter={"categories": ["UPGRADE_READINESS"]}
    )
    insights = [one for page in pages for one in page["insights"]]
    has_problem = False
    for one in insights:
        status = one["insightStatus"]["status"]
        if status in ("WARNING", "ERROR"):
            has_problem = True
            reason = one["insightStatus"].get("reason") or one.get("description", "")
            yield Finding(
                check="upgrade",
                status=Status.WARNING,
                detail=f"EKS found for the upgrade to {one['kubernetesVersion']}: {one['name']}. "
                f"{reason}".rstrip(),
                fix="Correct it before you raise cluster.version.",
            )
    if not has_problem:
        detail = (
            f"The cluster runs {version}, and EKS found nothing that prevents an upgrade."
            if insights
            else f"The cluster runs {version}. EKS has not examined it yet, which takes a day."
        )
        status = Status.PASSED if insights else Status.NOT_CHECKED
        yield Finding(check="upgrade", status=status, detail=detail)


def find_domains(spec: HostingSpec) -> dict[str, DomainSpec]:
    """Return the configured host names, by their key in the specification."""
    cdn, latency = spec.edge.cdn, spec.edge.latency_routing
    domains = {
        "api.domain": spec.api.domain,
        "edge.cdn.domain": None if cdn is None else cdn.domain,
        "edge.latency_routing.domain": None if latency is None else latency.domain,
    }
    return {key: domain for key, domain in domains.items() if domain is not None}


def check_hosted_zones(subject: Subject) -> Iterator[Finding]:
    """Check that the account has the public hosted zone of each host name."""
    domains = find_domains(subject.spec)
    for key, domain in domains.items():
        if _has_public_zone(subject.client("route53"), domain.zone):
            detail = f"The account has the public hosted zone {domain.zone} of {key}."
            yield Finding(check="hosted-zones", status=Status.PASSED, detail=detail)
            continue
        detail = f"The account has no public hosted zone {domain.zone}, which {key} names."
        fix = f"Create the zone in Route 53, or remove {key}."
        yield Finding(check="hosted-zones", status=Status.FAILED, detail=detail, fix=fix)
    if not domains:
        detail = "No host name is configured: clients use a name that AWS generates."
        fix = "Set edge.cdn.domain (or api.domain) for a name of your own."
        yield Finding(check="hosted-zones", status=Status.OPTIONAL, detail=detail, fix=fix)


def _has_public_zone(route53: Any, name: str) -> bool:
    zones = route53.list_hosted_zones_by_name(DNSName=name)["HostedZones"]
    return any(
        zone["Name"] == f"{name}." and not zone.get("Config", {}).get("PrivateZone")
        for zone in zones
    )


def check_recipients(subject: Subject) -> Iterator[Finding]:
    """Check the addresses that receive alarms and budget alerts."""
    spec, budget = subject.spec, subject.spec.budget
    lists = {"observability.notify": list(spec.observability.notify)}
    if budget is not None:
        lists["budget.notify"] = list(budget.notify)
    for key, addresses in lists.items():
        if reserved := [one for one in addresses if is_reserved(one)]:
            detail = f"{key} has {', '.join(reserved)}, a name that does not exist."
            fix = "Replace it with an address that receives mail."
            yield Finding(check="recipients", status=Status.FAILED, detail=detail, fix=fix)
        elif addresses:
            detail = f"{key}: {', '.join(addresses)}."
            yield Finding(check="recipients", status=Status.PASSED, detail=detail)
        else:
            what = "budget alerts" if key.startswith("budget") else "alarms"
            detail = f"{key} is empty: nobody receives {what} by mail."
            fix = f"Add e-mail addresses to {key}."
            yield Finding(check="recipients", status=Status.OPTIONAL, detail=detail, fix=fix)


def is_reserved(address: str) -> bool:
    """Return whether an e-mail address is in a domain that is reserved for documentation."""
    domain = address.rpartition("@")[2].lower()
    is_example = any(domain == one or domain.endswith(f".{one}") for one in _RESERVED_DOMAINS)
    return is_example or domain.rpartition(".")[2] in _RESERVED


def check_budget(subject: Subject) -> Iterator[Finding]:
    """Check that the tag by which a budget counts cost is activated."""
    budget = subject.spec.budget
    if budget is None or budget.scope != "stack":
        return
    check = "budget"
    tags = subject.client("ce", _BILLING_REGION).list_cost_allocation_tags(TagKeys=[STACK_TAG])
    if any(one["Status"] == "Active" for one in tags["CostAllocationTags"]):
        detail = f"The tag {STACK_TAG} is activated for cost allocation."
        yield Finding(check=check, status=Status.PASSED, detail=detail)
        return
    yield Finding(
        check=check,
        status=Status.WARNING,
        detail=f"Tag {STACK_TAG} is not activated for cost allocation: the budget counts 0 USD.",
        fix=f"A day after the first 'up', activate {STACK_TAG} in the account that pays, at "
        "https://us-east-1.console.aws.amazon.com/billing/home#/tags, or set budget.scope: "
        "account.",
    )


CHECKS: dict[str, Check] = {
    "permissions": check_permissions,
    "quotas": check_quotas,
    "zones": check_zones,
    "roles": check_roles,
    "upgrade": check_upgrade,
    "hosted-zones": check_hosted_zones,
    "recipients": check_recipients,
    "budget": check_budget,
}
"""Checks by name. They run at the same time."""
