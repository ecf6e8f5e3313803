"""Each rule of the specification for a stack on AWS, violated once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.spec_file import ABSENT, changed, config_of, find_problems, load, problems

_EXCEPTION = {
    "rule": "no-public-bucket",
    "resource": "access-log",
    "reason": "moves away next month",
    "expires": "2027-03-31",
}

_NAME = "1 to 40 lowercase letters, digits and hyphens, starting with a letter and not ending with"
_VERSION = (
    "1 to 16 lowercase letters, digits, dots and hyphens, with a letter or digit at both ends"
)

AWS: list[tuple[Mapping[Any, Any], str]] = [
    (
        {"kubernetes.monitoring": True},
        "kubernetes.monitoring: true cannot be used on platform aws, where CloudWatch has alarms",
    ),
    (
        {("aws:region",): ABSENT},
        "platform: 'aws' requires the key aws:region next to the berth: keys; add one, such as "
        "aws:",
    ),
    (
        {("aws:region",): "Frankfurt"},
        "platform: 'aws' requires a valid aws:region, got 'Frankfurt'; use a Region such as "
        "eu-central-1",
    ),
    (
        {
            "edge.cdn": ABSENT,
            "edge.latency_routing": {
                "domain": {"name": "a.example.com", "zone": "example.com"},
                "cdn_stack": "other",
            },
        },
        "edge.latency_routing.cdn_stack: 'other' is not in edge.latency_routing.stacks",
    ),
    (
        {
            "edge.latency_routing": {
                "domain": {"name": "a.example.com", "zone": "example.com"},
                "stacks": ["other"],
                "cdn_stack": "other",
            },
        },
        "edge.latency_routing.cdn_stack: 'other' cannot be combined with edge.cdn",
    ),
    (
        {"data.replica_region": "eu-central-1"},
        "data.replica_region: 'eu-central-1' is the stack's own Region; use another Region",
    ),
    (
        {"registry.replicate_to": [{"region": "eu-central-1"}]},
        "registry.replicate_to[0].region: 'eu-central-1' is the stack's own Region",
    ),
    (
        {"network.cidr": "10.20.0.0/22"},
        "network.cidr: '10.20.0.0/22' is too small for 6 subnets (a private and a public one in "
        "each of 3 zones) of /24; use /16 to /21",
    ),
    (
        {"network.availability_zones": 6, "network.cidr": "10.20.0.0/21"},
        "network.cidr: '10.20.0.0/21' is too small for 12 subnets",
    ),
    (
        {"network.cidr": "10.0.0.0/8"},
        "network.cidr: '10.0.0.0/8' is larger than AWS allows for a VPC; use /16 or smaller",
    ),
    (
        {"network.cidr": "10.20.1.0/16"},
        "network.cidr: '10.20.1.0/16' does not begin with the first address of its range; use "
        "10.20.0.0/16",
    ),
    (
        {"network.cidr": "8.8.0.0/16"},
        "network.cidr: '8.8.0.0/16' is not private; use a range of private IPv4 addresses inside",
    ),
    (
        {"network.cidr": "10.20.0.0/33"},
        "network.cidr: '10.20.0.0/33' is not valid; use a range of IPv4 addresses",
    ),
    (
        {"network.cidr": "fd00::/64"},
        "network.cidr: 'fd00::/64' is not valid; use a range of private IPv4 addresses",
    ),
    (
        {"network.availability_zones": 1},
        "network.availability_zones: 1 is not valid; use an integer from 2 to 6",
    ),
    (
        {"network.availability_zones": 7},
        "network.availability_zones: 7 is not valid; use an integer from 2 to 6",
    ),
    ({"network.nat": "none"}, "network.nat: 'none' is not valid; use one of single, per_zone"),
    (
        {"network.flow_log_days": 10},
        "network.flow_log_days: 10 is not valid; use one of 1, 3, 5, 7, 14, 30, 60",
    ),
    (
        {"cluster.version": 1.35},
        "cluster.version: 1.35 is not valid; use a Kubernetes version in quotes",
    ),
    (
        {"cluster.endpoint": "private", "cluster.public_cidrs": ["203.0.113.0/24"]},
        "cluster.public_cidrs: ['203.0.113.0/24'] has no effect with endpoint: private; remove",
    ),
    (
        {"cluster.public_cidrs": ["0.0.0.0/0"]},
        "cluster.public_cidrs[0]: '0.0.0.0/0' exposes the cluster's API to most of the internet; "
        "use",
    ),
    (
        {"cluster.private_cidrs": ["203.0.113.0/24"]},
        "cluster.private_cidrs[0]: '203.0.113.0/24' is not private; use a range of private IPv4",
    ),
    (
        {"api.waf.requests_per_ip": 2000},
        "api.waf.requests_per_ip: 2000 would limit all clients together, because their requests "
        "come from CloudFront; remove it, and set edge.cdn.requests_per_ip",
    ),
    (
        {"gateway.clients.default.rate_per_second": 500},
        "gateway.clients.default.rate_per_second: 500 exceeds api.rate_limit.rate_per_second "
        "(200), the limit for all clients together; raise that limit, or lower this one",
    ),
    (
        {("aws:accessKey",): "x"},
        "platform: cannot be used with aws:accessKey, which the cluster's token and the registry "
        "login do not have; remove it and use aws:profile",
    ),
    (
        {"cluster.service_cidr": "10.0.0.0/8"},
        "cluster.service_cidr: '10.0.0.0/8' has a size that EKS does not accept; use /12 to /24",
    ),
    (
        {"cluster.service_cidr": "10.20.128.0/20"},
        "cluster.service_cidr: '10.20.128.0/20' overlaps network.cidr (10.20.0.0/16); use a",
    ),
    (
        {"cluster.access": {"platform": {"role": "arn:aws:iam::000000000000:role/x"}}},
        "cluster.access.platform.role: 'arn:aws:iam::000000000000:role/x' is not valid; use an IAM",
    ),
    (
        {"cluster.addons.cordns": "v1.13.2-eksbuild.4"},
        "cluster.addons.cordns: is not a valid name; use one of amazon-cloudwatch-observability",
    ),
    (
        {"cluster.addons.coredns": "latest"},
        "cluster.addons.coredns: 'latest' is not valid; use an add-on version, such as v1.2.3-eks",
    ),
    (
        {"node_pools.general.min": 3},
        "node_pools.general.min: 3 exceeds desired (2); min <= desired <= max must hold",
    ),
    (
        {"node_pools.general.desired": 9},
        "node_pools.general.desired: 9 exceeds max (4); min <= desired <= max must hold",
    ),
    (
        {"node_pools.general.desired": None, "node_pools.general.min": 5},
        "node_pools.general.min: 5 exceeds max (4); min <= desired <= max must hold",
    ),
    (
        {"node_pools.general.max": ABSENT},
        "node_pools.general.max: is missing; set it to an integer",
    ),
    (
        {"node_pools.general.instance_types": ["g5.xlarge"]},
        "node_pools.general.instance_types[0]: 'g5.xlarge' cannot be combined with compute: cpu; "
        "use "
        "a type outside the g and p families, or set compute: gpu",
    ),
    (
        {"node_pools.accelerated.instance_types.1": "m7i.large"},
        "node_pools.accelerated.instance_types[1]: 'm7i.large' cannot be combined with compute: "
        "gpu; "
        "use a type of the g or p families",
    ),
    (
        {"node_pools.general.architecture": "arm64"},
        "node_pools.general.architecture: 'arm64' is not in images.architectures; add it there",
    ),
    (
        {"node_pools.a-name-longer-than-20": {"instance_types": ["m7i.large"], "min": 0, "max": 1}},
        "node_pools.a-name-longer-than-20: is not a valid name; use 1 to 20 lowercase letters",
    ),
    (
        {"node_pools.general.taints": [{"key": "reserved"}]},
        "node_pools: has no pool for the cluster's own workloads; add one with compute: cpu, a "
        "min of",
    ),
    ({"node_pools": ABSENT}, "node_pools: has no pool for the cluster's own workloads; add on"),
    (
        {"node_pools.accelerated": ABSENT, "models.digits.compute": "gpu"},
        "models.digits.compute: 'gpu' requires a node pool with compute: gpu; add one to",
    ),
    (
        {"gateway.timeout_seconds": 30},
        "gateway.timeout_seconds: 30 exceeds API Gateway's timeout; use 29 or less on platform aws",
    ),
    (
        {"gateway.max_body_bytes": 10485761},
        "gateway.max_body_bytes: 10485761 exceeds API Gateway's size limit; use 10485760 or less "
        "on",
    ),
    (
        {"gateway.clients.default.rate_per_second": 10001},
        "gateway.clients.default.rate_per_second: 10001 exceeds the quota of an AWS account; use",
    ),
    (
        {"gateway.clients.default.burst": 5001},
        "gateway.clients.default.burst: 5001 exceeds the quota of an AWS account; use 5000 or",
    ),
    (
        {"gateway.clients.default.quota.period": "hour"},
        "gateway.clients.default.quota.period: hour is not a quota period of API Gateway; use",
    ),
    (
        {"registry.url": "registry.example.com"},
        "registry.url: 'registry.example.com' is not allowed on platform aws, which has its own",
    ),
    (
        {"registry.replicate_to": [{"region": "eu-west-1", "account": "12"}]},
        "registry.replicate_to[0].account: '12' is not valid; use an AWS account ID: 12 digits",
    ),
    (
        {"api.domain": {"name": "api.example.org", "zone": "example.com"}},
        "api.domain.name: 'api.example.org' is not in the zone example.com; use a name",
    ),
    (
        {"api.waf.managed_rule_groups": ["AWSManagedRulesCommonRules"]},
        "api.waf.managed_rule_groups[0]: 'AWSManagedRulesCommonRules' is not valid; use one of "
        "AWSM",
    ),
    (
        {"edge.cdn.price_class": 100},
        'edge.cdn.price_class: 100 is not valid; use one of "100", "200", all',
    ),
    (
        {"encryption.rotation_days": 30},
        "encryption.rotation_days: 30 is not valid; use an integer from 90 to 2560",
    ),
    (
        {"observability.notify": ["nobody"]},
        "observability.notify[0]: 'nobody' is not valid; use an e-mail address",
    ),
    (
        {"budget.alert_percents": [80, 50]},
        "budget.alert_percents: [80, 50] is not ascending; sort it and remove duplicates",
    ),
    (
        {"budget.monthly_usd": ABSENT},
        "budget.monthly_usd: is missing; set it to a number greater than 0",
    ),
    ({"protect": "yes"}, "protect: 'yes' is not valid; use true or false"),
    ({"tags.aws:thing": "x"}, 'tags["aws:thing"]: is not a valid name; use 1 to 128 letters'),
    ({"tags.owner": ""}, "tags.owner: '' is not valid; use 1 to 256 letters, digits, spaces and"),
    ({"local": {}}, "local: applies only to platform local, but this stack uses aws; remove it"),
]


@pytest.mark.parametrize(("changes", "expected"), AWS, ids=[text[:60] for _, text in AWS])
def test_violated_rule_on_aws_is_reported(
    tmp_path: Path, changes: Mapping[Any, Any], expected: str
) -> None:
    lines = find_problems(tmp_path, config_of("dev"), changes, "dev")

    assert any(line.startswith(expected) for line in lines), lines


def test_rules_that_span_sections_are_reported_with_other_problems(tmp_path: Path) -> None:
    lines = find_problems(
        tmp_path, config_of("dev"), {"gateway.timeout_seconds": 60, "tags": {"owner": ""}}, "dev"
    )

    assert [line.partition(":")[0] for line in lines] == ["gateway.timeout_seconds", "tags.owner"]


@pytest.mark.parametrize("stack", ["Development", "a-stack-name-of-27-letters-", "1st"])
def test_invalid_stack_name_on_aws_is_rejected(tmp_path: Path, stack: str) -> None:
    (line,) = problems(tmp_path, changed(config_of("dev"), {}), stack)

    assert f"berth:platform: 'aws' cannot be used with the stack name {stack!r}" in line


def test_name_too_long_for_iam_role_is_rejected(tmp_path: Path) -> None:
    config = changed(
        config_of("dev"),
        {f"models.{'m' * 40}": {"versions": {"2027.01.01-final": {}}}},
    )

    (line,) = problems(tmp_path, config, "dev")

    assert "needs the IAM role name berth-dev-" in line
    assert line.endswith(
        "with 67 characters, but AWS leaves 56; shorten the name of the stack, model or version"
    )


def test_pool_without_desired_starts_with_minimum(tmp_path: Path) -> None:
    changes = {"node_pools.general.desired": ABSENT}

    spec = load(tmp_path, changed(config_of("dev"), changes), "dev")

    assert spec.node_pools["general"].initial == 2
