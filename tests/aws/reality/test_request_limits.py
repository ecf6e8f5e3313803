"""Bodies and rates that a stack's specification promises, at each hop from client to berth."""

import re
from typing import Any

import pytest
import yaml

from berth.spec import load_file
from pulumi_berth.aws.web_acl_plan import build_excess_pattern, build_rules
from tests.aws.reality.declared import (
    BEHIND_OTHER_STACK,
    CONFIGURED,
    Resource,
    declare,
    find_resources,
)
from tests.aws.reality.waf import (
    MANAGED_RULES,
    Request,
    find_address_rules,
    find_rates,
    find_status,
)
from tests.repository import REPOSITORY

pytestmark = pytest.mark.slow  # Each stack's program imports the SDK of AWS.

_MIB = 1024 * 1024
# Maximum size of a request body, in bytes, read 2026-11-26.
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
_CLOUDFRONT_BYTES, _API_GATEWAY_BYTES = 20 * 1024 * _MIB, 10 * _MIB
# Text that a model may classify, one example for each managed rule that inspects bodies.
_TEXTS = (
    b"<script>alert(1)</script>",
    b"cd ../../etc && echo $HOME",
    b"see http://192.0.2.1/a and http://169.254.169.254/latest",
    b"${jndi:ldap://a} java.lang.Runtime",
    b"' OR 1=1; UNION SELECT",
)
# Each kind of entry point: the stack's own edge endpoint, the API, another stack's edge endpoint.
_ENTRIES: dict[str, dict[str, Any]] = {"cdn": {}, "api": CONFIGURED, "other": BEHIND_OTHER_STACK}
_CASES = [("dev", "cdn"), ("prod", "cdn"), ("dev", "api"), ("dev", "other")]


def _read_acls(resources: list[Resource]) -> dict[str, list[dict[str, Any]]]:
    """Return the rules of each web ACL. Those with a secret are hidden from the declarations."""
    return {
        one["inputs"]["scope"]: _without_secret(one["inputs"]["rules"])
        for one in find_resources(resources, ":WebAcl")
        if "scope" in one["inputs"]
    }


def _without_secret(rules: Any) -> list[dict[str, Any]]:
    value = rules["value"] if isinstance(rules, dict) else rules
    assert isinstance(value, list)
    return value


def _declare_case(stack: str, entry: str) -> tuple[list[Resource], dict[str, list[dict[str, Any]]]]:
    resources = declare(stack, **_ENTRIES[entry])
    return resources, _read_acls(resources)


@pytest.mark.parametrize(("stack", "entry"), _CASES)
def test_each_web_acl_passes_bodies_that_the_specification_allows(stack: str, entry: str) -> None:
    limit = load_file(REPOSITORY / f"Pulumi.{stack}.yaml").gateway.max_body_bytes
    assert limit <= min(_CLOUDFRONT_BYTES, _API_GATEWAY_BYTES)
    _, acls = _declare_case(stack, entry)
    assert "REGIONAL" in acls
    for scope, rules in acls.items():
        for body in (bytes(limit), bytes(8193), bytes(70_000), *_TEXTS):
            headers = {"content-length": str(len(body))}  # a program without a User-Agent
            status = find_status(rules, Request(body=body, headers=headers))
            assert status is None, (scope, len(body), body[:40])


@pytest.mark.parametrize(("stack", "entry"), _CASES)
def test_first_web_acl_rejects_larger_bodies_with_the_status_of_the_gateway(
    stack: str, entry: str
) -> None:
    limit = load_file(REPOSITORY / f"Pulumi.{stack}.yaml").gateway.max_body_bytes
    _, acls = _declare_case(stack, entry)
    for rules in acls.values():
        request = Request(headers={"content-length": str(limit + 1)})
        assert find_status(rules, request) == 413


@pytest.mark.parametrize(("stack", "entry"), _CASES)
def test_berths_accept_bodies_that_the_specification_allows(stack: str, entry: str) -> None:
    spec = load_file(REPOSITORY / f"Pulumi.{stack}.yaml")
    resources, _ = _declare_case(stack, entry)
    berths = [
        one
        for one in find_resources(resources, "apps/v1:Deployment")
        if one["inputs"]["metadata"]["labels"]["app.kubernetes.io/name"] == "berth"
    ]
    assert berths
    for one in berths:
        (container,) = one["inputs"]["spec"]["template"]["spec"]["containers"]
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        assert int(environment["BERTH_MAX_BODY_BYTES"]) == spec.gateway.max_body_bytes


@pytest.mark.parametrize(("stack", "entry"), _CASES)
def test_rules_per_address_are_where_clients_have_their_own_address(stack: str, entry: str) -> None:
    """Behind CloudFront, all clients share its addresses, and each client can choose the first
    address of X-Forwarded-For."""
    _, acls = _declare_case(stack, entry)
    is_behind_edge = entry != "api"
    assert ("CLOUDFRONT" in acls) == (entry == "cdn")
    assert bool(find_address_rules(acls["REGIONAL"])) is not is_behind_edge
    if "CLOUDFRONT" in acls:
        assert find_address_rules(acls["CLOUDFRONT"])


@pytest.mark.parametrize(("stack", "entry"), _CASES)
def test_each_client_can_use_its_rate_limit_from_one_address(stack: str, entry: str) -> None:
    config = yaml.safe_load((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())["config"]
    clients = _ENTRIES[entry].get("gateway", config["berth:gateway"])["clients"].values()
    resources, acls = _declare_case(stack, entry)
    rates = [rate for rules in acls.values() for rate in find_rates(rules)]
    assert len(rates) == (0 if entry == "other" else 1)
    (stage,) = find_resources(resources, ":MethodSettings")
    of_all = stage["inputs"]["settings"]
    for client in clients:
        rate, burst = client.get("rate_per_second", 50), client.get("burst", 100)
        assert of_all["throttlingRateLimit"] >= rate
        assert of_all["throttlingBurstLimit"] >= burst
        for requests, seconds in rates:
            assert requests >= rate * seconds + burst


def test_every_managed_group_of_the_specification_is_in_the_table() -> None:
    schema = (REPOSITORY / "infra" / "berth" / "spec" / "aws.py").read_text()
    names = {line.strip('", ') for line in schema.splitlines() if '"AWSManagedRules' in line}
    assert names == set(MANAGED_RULES)
    rules = build_rules(
        groups=sorted(names),
        counts_only=False,
        requests_per_ip=None,
        max_body_bytes=None,
        origin_secret=None,
    )
    for rule in rules:
        group = rule["statement"]["managed_rule_group_statement"]
        counted = {one["name"] for one in group.get("rule_action_overrides", ())}
        inspecting = {name for name in MANAGED_RULES[rule["name"]] if name.endswith("_BODY")}
        assert inspecting <= counted, rule["name"]


@pytest.mark.parametrize("limit", [1024, 1999, 8192, 99_999, 10_485_760, 2**30])
def test_pattern_matches_exactly_the_numbers_above_the_limit(limit: int) -> None:
    pattern = build_excess_pattern(limit)
    assert len(pattern) <= 512  # RegexPatternString in the service model of WAF
    near = range(limit - 300, limit + 300)
    digits = len(str(limit))
    edges = [0, 9, 10 ** (digits - 1), 10**digits - 1, 10**digits, 10 ** (digits + 9)]
    for number in (*near, *edges, *range(0, 2 * limit, max(1, limit // 500))):
        assert bool(re.search(pattern, str(number))) == (number > limit), number
    assert re.search(pattern, f"00{limit + 1}")
    assert not re.search(pattern, f"00{limit}")
    assert not re.search(pattern, "chunked")
