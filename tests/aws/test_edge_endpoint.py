"""The edge endpoint alone."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.aws.emulation import Emulation
from tests.aws.program import Program

_PROGRAM = """
import pulumi
from pulumi_berth.aws.edge_endpoint import EdgeEndpoint, EdgeEndpointArgs
from pulumi_berth.aws.encryption_key import EncryptionKey, EncryptionKeyArgs, service_use
from pulumi_berth.aws.log_group import LogSettings
from pulumi_berth.aws.web_acl import WebAcl, WebAclArgs

key = EncryptionKey("logs", EncryptionKeyArgs(
    purpose="Logs", account="123456789012", users=[service_use("logs.us-east-1.amazonaws.com")],
    deletion_window_days=7, region="us-east-1"))
acl = WebAcl("firewall", WebAclArgs(
    scope="CLOUDFRONT", mode="count", requests_per_ip=100, logs=LogSettings(days=14, key=key.arn),
    rule_sets=["AWSManagedRulesCommonRuleSet"]))
edge = EdgeEndpoint("edge", EdgeEndpointArgs(
    origin_host="abc.execute-api.us-east-1.amazonaws.com", origin_secret="e" * 32,
    price_class="100", minimum_tls="1.2", web_acl_arn=acl.arn))
pulumi.export("url", edge.url)
"""


@pytest.fixture(scope="module")
def program(new_program: Callable[[str], Program]) -> Iterator[Program]:
    made = new_program("edge").write(_PROGRAM)
    made.up()
    yield made
    made.destroy()
    found = made.aws.client("cloudfront").list_distributions()["DistributionList"]
    assert found.get("Items", []) == []


@pytest.fixture
def distribution(program: Program, aws: Emulation) -> Any:
    (found,) = aws.client("cloudfront").list_distributions()["DistributionList"]["Items"]
    return aws.client("cloudfront").get_distribution_config(Id=found["Id"])["DistributionConfig"]


def test_a_further_preview_is_empty(program: Program) -> None:
    assert program.changes() == {}


def test_it_talks_tls_on_both_sides(distribution: Any) -> None:
    (origin,) = distribution["Origins"]["Items"]
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
    assert origin["CustomOriginConfig"]["OriginSslProtocols"]["Items"] == ["TLSv1.2"]
    assert distribution["DefaultCacheBehavior"]["ViewerProtocolPolicy"] == "https-only"


def test_it_alone_knows_what_the_api_asks_for(distribution: Any, program: Program) -> None:
    (origin,) = distribution["Origins"]["Items"]
    (header,) = origin["CustomHeaders"]["Items"]
    assert header == {"HeaderName": "x-origin-verify", "HeaderValue": "e" * 32}
    assert "e" * 32 not in json.dumps(program.resources())


def test_a_firewall_stands_before_it(distribution: Any, aws: Emulation) -> None:
    (acl,) = aws.client("wafv2").list_web_acls(Scope="CLOUDFRONT")["WebACLs"]
    assert distribution["WebACLId"] == acl["ARN"]


def test_inference_is_never_cached(distribution: Any) -> None:
    behaviour = distribution["DefaultCacheBehavior"]
    assert behaviour["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
    assert behaviour["Compress"]
