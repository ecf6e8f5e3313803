"""What a stack on AWS costs per month, line by line.

The estimate counts the resources that the stack's program declares, and multiplies them by the
prices in `tables/prices.json` and by assumptions about usage. The table states the source of each
price, and whether AWS's page could be read.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from berth.errors import OperationError
from berth.platforms.aws.tables import read_table
from berth.platforms.cost_line import CostLine
from pulumi_berth.aws.eks_versions import read_versions

_MIB = 1 << 20
# EC2 sends 7 metrics for each instance with detailed monitoring:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_metrics_with_cloudwatch.html
_METRICS_PER_NODE = 7
# Requests, queue, and requests by status code: see `pulumi_berth.aws.agent_settings`.
_METRICS_PER_BERTH = 3
_MINUTES_PER_MONTH = 43_800
_FREE_CDN_REQUESTS = 10_000_000
_FREE_CDN_GIB = 1024


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Assumptions about a month. Each is an option of `berth cost`."""

    requests: int = 1_000_000
    """Requests of clients."""
    response_kib: float = 2.0
    """Size of a response in KiB."""
    log_gib: float = 10.0
    """Log lines in GiB: of the control plane, the Pods, the API, the firewalls and the network."""
    nat_gib: float = 20.0
    """Traffic through NAT gateways in GiB."""
    endpoint_gib: float = 10.0
    """Traffic through interface endpoints in GiB."""
    data_gib: float = 5.0
    """Objects in S3 in GiB."""
    image_gib: float = 5.0
    """Images in ECR in GiB."""
    gpu_node_hours: float = 0.0
    """Hours of GPU nodes, beyond those that the pools start with."""
    observations_per_pod: float = 40.0
    """Observations of Container Insights for each Pod and minute."""


class _Prices:
    """The prices of one Region."""

    def __init__(self, region: str) -> None:
        self.table = read_table("prices")
        if region not in self.table["regions"]:
            regions = ", ".join(self.table["regions"])
            raise OperationError(
                f"Berth has no prices for {region}; it knows {regions}. Compare with one of them: "
                "berth cost --region eu-central-1."
            )
        self.region = region
        self.hours = int(self.table["hours_per_month"])

    def line(self, key: str, service: str, item: str, quantity: float) -> CostLine:
        entry = self.table["prices"][key]
        return CostLine(
            service=service,
            item=item,
            quantity=quantity,
            unit=entry["unit"],
            unit_usd=entry["usd"][self.region],
            source=entry["source"],
            is_read=entry["is_read"],
        )

    def instance(self, instance_type: str, *, spot: bool) -> float | None:
        """Return the price of an instance-hour."""
        base: float | None = self.table["instances"].get(instance_type)
        if base is None:
            return None
        factors = self.table["instance_factors"][self.region]
        factor = factors.get(instance_type.partition(".")[0], factors["other"])
        return float(base * factor * (self.table["spot_share"] if spot else 1.0))


def estimate(
    resources: Sequence[Mapping[str, Any]], region: str, usage: Usage, today: date
) -> list[CostLine]:
    """Return the lines of the estimate, in the order of the services.

    Args:
        resources: Declared resources, from `berth.operations.declarations`.
        today: Day on which the support of the cluster's version is judged.

    Raises:
        OperationError: If the table has no prices for the Region.
    """
    prices = _Prices(region)
    count = Counter(str(resource["type"]) for resource in resources)
    lines = [
        *_cluster(resources, prices, today),
        *_nodes(resources, prices, usage),
        *_network(resources, prices, count, usage),
        *_public(resources, prices, count, usage),
        *_watching(resources, prices, count, usage),
        prices.line("kms_key", "KMS", "keys", count["aws:kms/key:Key"]),
        prices.line("s3_gib", "S3", "objects", usage.data_gib),
        prices.line("ecr_gib", "ECR", "images", usage.image_gib),
    ]
    return [line for line in lines if line.quantity]


def _of_type(resources: Sequence[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
    return (resource["inputs"] for resource in resources if resource["type"] == kind)


def _cluster(
    resources: Sequence[Mapping[str, Any]], prices: _Prices, today: date
) -> Iterator[CostLine]:
    for cluster in _of_type(resources, "aws:eks/cluster:Cluster"):
        known = read_versions().get(str(cluster["version"]))
        is_extended = known is not None and today >= known.standard_support_ends
        key = "eks_extended" if is_extended else "eks_standard"
        yield prices.line(key, "EKS", "control plane", prices.hours)


def _nodes(
    resources: Sequence[Mapping[str, Any]], prices: _Prices, usage: Usage
) -> Iterator[CostLine]:
    disks = {
        resource["name"]: sum(
            disk["ebs"]["volumeSize"] for disk in resource["inputs"]["blockDeviceMappings"]
        )
        for resource in resources
        if resource["type"] == "aws:ec2/launchTemplate:LaunchTemplate"
    }
    for resource in resources:
        if resource["type"] != "aws:eks/nodeGroup:NodeGroup":
            continue
        name, inputs = resource["name"], resource["inputs"]
        is_gpu = "NVIDIA" in inputs["amiType"]
        spot = inputs["capacityType"] == "SPOT"
        first = inputs["instanceTypes"][0]
        hours = inputs["scalingConfig"]["desiredSize"] * prices.hours
        hours += usage.gpu_node_hours if is_gpu else 0
        capacity = "Spot" if spot else "On-Demand"
        yield CostLine(
            service="EC2",
            item=f"nodes {name}: {first}, {capacity}",
            quantity=hours,
            unit="node-hour",
            unit_usd=prices.instance(first, spot=spot),
            source=prices.table["sources"]["instances"],
            is_read=prices.region == "us-east-1",
        )
        gib = disks.get(name, 0) * hours / prices.hours
        yield prices.line("ebs_gp3", "EBS", f"disks of {name}", gib)


def _network(
    resources: Sequence[Mapping[str, Any]], prices: _Prices, count: Counter[str], usage: Usage
) -> Iterator[CostLine]:
    gateways = count["aws:ec2/natGateway:NatGateway"]
    zones = sum(
        len(inputs.get("subnetIds") or ())
        for inputs in _of_type(resources, "aws:ec2/vpcEndpoint:VpcEndpoint")
        if inputs["vpcEndpointType"] == "Interface"
    )
    yield prices.line("nat_hour", "VPC", "NAT gateways", gateways * prices.hours)
    yield prices.line("nat_gib", "VPC", "NAT traffic", usage.nat_gib if gateways else 0)
    addresses = count["aws:ec2/eip:Eip"]
    yield prices.line("public_ipv4", "VPC", "public addresses", addresses * prices.hours)
    yield prices.line("endpoint_hour", "VPC", "interface endpoints", zones * prices.hours)
    yield prices.line(
        "endpoint_gib", "VPC", "traffic of endpoints", usage.endpoint_gib if zones else 0
    )
    balancers = count["aws:lb/loadBalancer:LoadBalancer"] * prices.hours
    yield prices.line("nlb_hour", "ELB", "network load balancer", balancers)
    yield prices.line("nlb_lcu", "ELB", "capacity units, one", balancers)


def _public(
    resources: Sequence[Mapping[str, Any]], prices: _Prices, count: Counter[str], usage: Usage
) -> Iterator[CostLine]:
    millions = usage.requests / 1_000_000
    gib = usage.requests * usage.response_kib / _MIB
    acls = list(_of_type(resources, "aws:wafv2/webAcl:WebAcl"))
    has_cdn = count["aws:cloudfront/distribution:Distribution"] > 0
    yield prices.line("api_million", "API Gateway", "requests", millions)
    yield prices.line("waf_acl", "WAF", "web ACLs", len(acls))
    rules = sum(len(acl["rules"]) for acl in acls)
    yield prices.line("waf_rule", "WAF", "rules and managed groups", rules)
    yield prices.line("waf_million", "WAF", "requests", millions * len(acls))
    if has_cdn:
        charged = max(0, usage.requests - _FREE_CDN_REQUESTS) / 1_000_000
        yield prices.line("cdn_million", "CloudFront", "requests", charged)
        yield prices.line("cdn_gib", "CloudFront", "responses", max(0.0, gib - _FREE_CDN_GIB))
    else:
        yield prices.line("internet_gib", "EC2", "responses to the internet", gib)


def _watching(
    resources: Sequence[Mapping[str, Any]], prices: _Prices, count: Counter[str], usage: Usage
) -> Iterator[CostLine]:
    nodes = sum(
        inputs["scalingConfig"]["desiredSize"]
        for inputs in _of_type(resources, "aws:eks/nodeGroup:NodeGroup")
    )
    pods, berths = 0, 0
    for inputs in _of_type(resources, "kubernetes:apps/v1:Deployment"):
        replicas = int(inputs["spec"].get("replicas", 1))
        pods += replicas
        labels = inputs["spec"]["template"]["metadata"].get("labels") or {}
        berths += "berth/model" in labels
    daemons = len(read_table("capacity")["daemons"])
    addons = sum(addon["replicas"] for addon in read_table("capacity")["addons"].values())
    total = pods + addons + nodes * daemons
    observations = total * usage.observations_per_pod * _MINUTES_PER_MONTH / 1_000_000
    metrics = (
        nodes * _METRICS_PER_NODE
        + berths * _METRICS_PER_BERTH
        + count["aws:cloudwatch/logMetricFilter:LogMetricFilter"]
    )
    alarms = sum(
        sum("metric" in query for query in inputs.get("metricQueries") or ()) or 1
        for inputs in _of_type(resources, "aws:cloudwatch/metricAlarm:MetricAlarm")
    )
    yield prices.line("log_gib", "CloudWatch", "log lines", usage.log_gib)
    yield prices.line("log_stored_gib", "CloudWatch", "stored log lines", usage.log_gib)
    yield prices.line("metric", "CloudWatch", "metrics", metrics)
    yield prices.line("alarm", "CloudWatch", "metrics of alarms", alarms)
    dashboards = count["aws:cloudwatch/dashboard:Dashboard"]
    yield prices.line("dashboard", "CloudWatch", "dashboards", dashboards)
    yield prices.line("observation_million", "CloudWatch", "Container Insights", observations)
