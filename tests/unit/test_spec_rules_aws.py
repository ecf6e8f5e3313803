"""Every rule of the specification for a stack on AWS, broken once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.spec_file import ABSENT, changed, config_of, found, load, problems

_EXCEPTION = {
    "rule": "no-public-bucket",
    "resource": "access-log",
    "reason": "moves away next month",
    "expires": "2027-03-31",
}

_NAME = "1 to 40 lower-case letters, digits and hyphens, a letter first, no hyphen last"
_VERSION = "1 to 16 lower-case letters, digits, dots and hyphens, a letter or digit at both ends"

AWS: list[tuple[Mapping[Any, Any], str]] = [
    (
        {("aws:region",): ABSENT},
        "platform: 'aws' needs the key aws:region beside the berth: keys, such as aws:region: eu",
    ),
    (
        {("aws:region",): "Frankfurt"},
        "platform: 'aws' needs a region, not aws:region: 'Frankfurt'; such as eu-central-1",
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
        "edge.latency_routing.cdn_stack: 'other' does not go with edge.cdn",
    ),
    (
        {"data.replica_region": "eu-central-1"},
        "data.replica_region: 'eu-central-1' is the region of the stack itself; another one",
    ),
    (
        {"registry.replicate_to": [{"region": "eu-central-1"}]},
        "registry.replicate_to[0].region: 'eu-central-1' is the region of the stack itself",
    ),
    (
        {"network.cidr": "10.20.0.0/22"},
        "network.cidr: '10.20.0.0/22' is too small for 6 subnets (a private and a public one in "
        "each of 3 zones) of /24; /16 to /21",
    ),
    (
        {"network.availability_zones": 6, "network.cidr": "10.20.0.0/21"},
        "network.cidr: '10.20.0.0/21' is too small for 12 subnets",
    ),
    (
        {"network.cidr": "10.0.0.0/8"},
        "network.cidr: '10.0.0.0/8' is larger than AWS allows for a VPC; /16 or smaller",
    ),
    (
        {"network.cidr": "10.20.1.0/16"},
        "network.cidr: '10.20.1.0/16' is not the start of its range; 10.20.0.0/16",
    ),
    (
        {"network.cidr": "8.8.0.0/16"},
        "network.cidr: '8.8.0.0/16' is not private; a range of private IPv4 addresses, inside one",
    ),
    (
        {"network.cidr": "10.20.0.0/33"},
        "network.cidr: '10.20.0.0/33' is not allowed; a range of IPv4 addresses",
    ),
    (
        {"network.cidr": "fd00::/64"},
        "network.cidr: 'fd00::/64' is not allowed; a range of private IPv4 addresses",
    ),
    (
        {"network.availability_zones": 1},
        "network.availability_zones: 1 is not allowed; a whole number from 2 to 6",
    ),
    (
        {"network.availability_zones": 7},
        "network.availability_zones: 7 is not allowed; a whole number from 2 to 6",
    ),
    ({"network.nat": "none"}, "network.nat: 'none' is not allowed; one of single, per_zone"),
    (
        {"network.flow_log_days": 10},
        "network.flow_log_days: 10 is not allowed; one of 1, 3, 5, 7, 14, 30, 60",
    ),
    (
        {"cluster.version": 1.35},
        "cluster.version: 1.35 is not allowed; a Kubernetes version in quotes",
    ),
    (
        {"cluster.endpoint": "public_and_private"},
        "cluster.public_cidrs: is empty; name the ranges that may reach the public endpoint, or",
    ),
    (
        {"cluster.public_cidrs": ["203.0.113.0/24"]},
        "cluster.public_cidrs: ['203.0.113.0/24'] has no effect with endpoint: private; take it",
    ),
    (
        {"cluster.endpoint": "public_and_private", "cluster.public_cidrs": ["0.0.0.0/0"]},
        "cluster.public_cidrs[0]: '0.0.0.0/0' opens the cluster's API to the world; /8 or smaller",
    ),
    (
        {"cluster.service_cidr": "10.0.0.0/8"},
        "cluster.service_cidr: '10.0.0.0/8' has a size that EKS does not take; /12 to /24",
    ),
    (
        {"cluster.service_cidr": "10.20.128.0/20"},
        "cluster.service_cidr: '10.20.128.0/20' overlaps network.cidr, 10.20.0.0/16; a range apart",
    ),
    (
        {"cluster.access.platform.role": "arn:aws:iam::000000000000:role/x"},
        "cluster.access.platform.role: 'arn:aws:iam::000000000000:role/x' is not allowed; the name",
    ),
    (
        {"cluster.addons.cordns": "v1.13.2-eksbuild.4"},
        "cluster.addons.cordns: is not a name for this; one of amazon-cloudwatch-observability",
    ),
    (
        {"cluster.addons.coredns": "latest"},
        "cluster.addons.coredns: 'latest' is not allowed; an add-on version: v1.2.3-eksbuild.1",
    ),
    (
        {"node_pools.general.min": 3},
        "node_pools.general.min: 3 is above desired, 2; min <= desired <= max must hold",
    ),
    (
        {"node_pools.general.desired": 9},
        "node_pools.general.desired: 9 is above max, 4; min <= desired <= max must hold",
    ),
    (
        {"node_pools.general.desired": None, "node_pools.general.min": 5},
        "node_pools.general.min: 5 is above max, 4; min <= desired <= max must hold",
    ),
    ({"node_pools.general.max": ABSENT}, "node_pools.general.max: is missing; a whole number fro"),
    (
        {"node_pools.general.instance_types": ["g5.xlarge"]},
        "node_pools.general.instance_types[0]: 'g5.xlarge' does not go with compute: cpu; a type "
        "outside the g and p families, or compute: gpu",
    ),
    (
        {"node_pools.accelerated.instance_types.1": "m7i.large"},
        "node_pools.accelerated.instance_types[1]: 'm7i.large' does not go with compute: gpu; a "
        "type of the g or p families",
    ),
    (
        {"node_pools.general.architecture": "arm64"},
        "node_pools.general.architecture: 'arm64' is not one that images are built for: add it to",
    ),
    (
        {"node_pools.a-name-longer-than-20": {"instance_types": ["m7i.large"], "min": 0, "max": 1}},
        "node_pools.a-name-longer-than-20: is not a name for this; 1 to 20 lower-case letters",
    ),
    (
        {"node_pools.general.taints": [{"key": "reserved"}]},
        "node_pools: has no pool for what the cluster itself runs; one with compute: cpu, min of",
    ),
    ({"node_pools": ABSENT}, "node_pools: has no pool for what the cluster itself runs; one wit"),
    (
        {"node_pools.accelerated": ABSENT, "models.digits.compute": "gpu"},
        "models.digits.compute: 'gpu' has no nodes; add a pool with compute: gpu",
    ),
    (
        {"gateway.timeout_seconds": 30},
        "gateway.timeout_seconds: 30 is longer than API Gateway waits; 29 or less on platform aws",
    ),
    (
        {"gateway.max_body_bytes": 10485761},
        "gateway.max_body_bytes: 10485761 is more than API Gateway takes; 10485760 or less on",
    ),
    (
        {"gateway.clients.default.rate_per_second": 10001},
        "gateway.clients.default.rate_per_second: 10001 is above the quota of an AWS account, 100",
    ),
    (
        {"gateway.clients.default.burst": 5001},
        "gateway.clients.default.burst: 5001 is above the quota of an AWS account, 5000; that or",
    ),
    (
        {"gateway.clients.default.quota.period": "hour"},
        "gateway.clients.default.quota.period: hour is not a period of API Gateway's quotas; day",
    ),
    (
        {"registry.url": "registry.example.com"},
        "registry.url: 'registry.example.com' is not for platform aws, which has its own registry",
    ),
    (
        {"registry.replicate_to": [{"region": "eu-west-1", "account": "12"}]},
        "registry.replicate_to[0].account: '12' is not allowed; an AWS account: 12 digits",
    ),
    (
        {"api.domain.name": "api.example.org"},
        "api.domain.name: 'api.example.org' does not lie in the zone example.com; give a name",
    ),
    (
        {"api.waf.managed_rule_groups": ["AWSManagedRulesCommonRules"]},
        "api.waf.managed_rule_groups[0]: 'AWSManagedRulesCommonRules' is not allowed; one of AWSM",
    ),
    (
        {"edge.cdn.price_class": 100},
        'edge.cdn.price_class: 100 is not allowed; one of "100", "200", all',
    ),
    (
        {"encryption.rotation_days": 30},
        "encryption.rotation_days: 30 is not allowed; a whole number from 90 to 2560",
    ),
    (
        {"observability.notify": ["nobody"]},
        "observability.notify[0]: 'nobody' is not allowed; an e-mail address",
    ),
    (
        {"budget.alert_percents": [80, 50]},
        "budget.alert_percents: [80, 50] does not rise; each must be above the former",
    ),
    ({"budget.monthly_usd": ABSENT}, "budget.monthly_usd: is missing; a number above 0, 100000000"),
    ({"protect": "yes"}, "protect: 'yes' is not allowed; true or false"),
    ({"tags.aws:thing": "x"}, 'tags["aws:thing"]: is not a name for this; 1 to 128 letters'),
    ({"tags.owner": ""}, "tags.owner: '' is not allowed; 1 to 256 letters, digits, spaces and"),
    ({"local": {}}, "local: is for platform local, and this stack's is aws; take it out"),
]


@pytest.mark.parametrize(("changes", "expected"), AWS, ids=[text[:60] for _, text in AWS])
def test_a_broken_rule_on_aws(tmp_path: Path, changes: Mapping[Any, Any], expected: str) -> None:
    told = found(tmp_path, config_of("dev"), changes, "dev")

    assert any(line.startswith(expected) for line in told), told


def test_rules_that_span_sections_are_told_beside_other_problems(tmp_path: Path) -> None:
    told = found(
        tmp_path, config_of("dev"), {"gateway.timeout_seconds": 60, "tags": {"owner": ""}}, "dev"
    )

    assert [line.partition(":")[0] for line in told] == ["gateway.timeout_seconds", "tags.owner"]


@pytest.mark.parametrize("stack", ["Development", "a-stack-name-of-27-letters-", "1st"])
def test_a_stack_on_aws_has_a_name_that_aws_takes(tmp_path: Path, stack: str) -> None:
    (told,) = problems(tmp_path, changed(config_of("dev"), {}), stack)

    assert f"berth:platform: 'aws' does not go with the stack's name, {stack!r}" in told


def test_a_name_that_is_too_long_for_an_iam_role(tmp_path: Path) -> None:
    config = changed(
        config_of("dev"),
        {f"models.{'m' * 40}": {"versions": {"2027.01.01-final": {}}}},
    )

    (told,) = problems(tmp_path, config, "dev")

    assert "makes the name berth-dev-" in told
    assert told.endswith(
        "for its IAM role, 67 characters; AWS leaves 56: shorten the name of stack, model or "
        "version"
    )


def test_a_pool_starts_with_its_fewest_nodes(tmp_path: Path) -> None:
    changes = {"node_pools.general.desired": ABSENT}

    spec = load(tmp_path, changed(config_of("dev"), changes), "dev")

    assert spec.node_pools["general"].initial == 2
