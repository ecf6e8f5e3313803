"""The component `EdgeEndpoint` and its firewall."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.aws.emulation import Emulation
from tests.aws.program import Program

_PROGRAM = """
import pulumi
from pulumi_berth.aws.edge_endpoint import EdgeEndpoint, EdgeEndpointArgs
from pulumi_berth.aws.encryption_key import EncryptionKey, EncryptionKeyArgs, allow_service
from pulumi_berth.aws.logs import LogSettings
from pulumi_berth.aws.web_acl import WebAcl, WebAclArgs

key = EncryptionKey("logs", EncryptionKeyArgs(
    stack_name="test",
    purpose="Logs", account="123456789012",
    statements=[allow_service("logs.us-east-1.amazonaws.com")],
    deletion_window_days=7, region="us-east-1"))
acl = WebAcl("firewall", WebAclArgs(
    stack_name="test",
    scope="CLOUDFRONT", mode="count", requests_per_ip=100,
    logs=LogSettings(path_prefix="/berth/test", days=14, key=key.arn),
    rule_groups=["AWSManagedRulesCommonRuleSet"]))
edge = EdgeEndpoint("edge", EdgeEndpointArgs(
    stack_name="test",
    origin_host="abc.execute-api.us-east-1.amazonaws.com", origin_secret="e" * 32,
    price_class="100", minimum_tls="1.2", web_acl_arn=acl.arn))
pulumi.export("url", edge.url)
"""


@pytest.fixture(scope="module")
def program(new_program: Callable[[str], Program]) -> Program:
    """Deploy a distribution. `test_stacks` covers the deletion, which takes a minute."""
    program = new_program("edge").write(_PROGRAM)
    program.up()
    return program


@pytest.fixture
def distribution(program: Program, aws: Emulation) -> Any:
    (one,) = (
        item
        for item in aws.client("cloudfront").list_distributions()["DistributionList"]["Items"]
        if item["Comment"] == "berth test"
    )
    return aws.client("cloudfront").get_distribution_config(Id=one["Id"])["DistributionConfig"]


def test_second_preview_is_empty(program: Program) -> None:
    assert program.changes() == {}


def test_distribution_uses_tls_with_viewer_and_origin(distribution: Any) -> None:
    (origin,) = distribution["Origins"]["Items"]
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
    assert origin["CustomOriginConfig"]["OriginSslProtocols"]["Items"] == ["TLSv1.2"]
    assert distribution["DefaultCacheBehavior"]["ViewerProtocolPolicy"] == "https-only"


def test_origin_secret_is_sent_to_origin_and_encrypted_in_state(
    distribution: Any, program: Program
) -> None:
    (origin,) = distribution["Origins"]["Items"]
    (header,) = origin["CustomHeaders"]["Items"]
    assert header == {"HeaderName": "x-origin-verify", "HeaderValue": "e" * 32}
    assert "e" * 32 not in json.dumps(program.resources())


def test_distribution_has_web_acl(distribution: Any, aws: Emulation) -> None:
    acls = aws.client("wafv2").list_web_acls(Scope="CLOUDFRONT")["WebACLs"]
    (acl,) = (acl for acl in acls if acl["ARN"] == distribution["WebACLId"])
    waf = aws.client("wafv2")
    rules = waf.get_web_acl(Name=acl["Name"], Scope="CLOUDFRONT", Id=acl["Id"])["WebACL"]["Rules"]
    (rate,) = (rule for rule in rules if rule["Name"] == "rate")
    assert rate["Statement"]["RateBasedStatement"]["Limit"] == 100
    assert rate["Action"]["Block"]["CustomResponse"]["ResponseCode"] == 429


def test_distribution_disables_caching(distribution: Any) -> None:
    behavior = distribution["DefaultCacheBehavior"]
    assert behavior["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
    assert behavior["Compress"]
