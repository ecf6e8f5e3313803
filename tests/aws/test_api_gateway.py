"""The component `ApiGateway` and its firewall."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.aws.emulation import Emulation
from tests.aws.program import Program

_PROGRAM = """
import pulumi
from pulumi_berth.aws.api_gateway import ApiClient, ApiGateway, ApiGatewayArgs, Quota
from pulumi_berth.aws.logs import ApiGatewayLogs, ApiGatewayLogsArgs
from pulumi_berth.aws.encryption_key import EncryptionKey, EncryptionKeyArgs, allow_service
from pulumi_berth.aws.logs import LogSettings
from pulumi_berth.aws.web_acl import WebAcl, WebAclArgs

ACCOUNT = "123456789012"
key = EncryptionKey("logs", EncryptionKeyArgs(
    stack_name="test",
    purpose="Logs", account=ACCOUNT, statements=[allow_service("logs.us-east-1.amazonaws.com")],
    deletion_window_days=7))
logs = LogSettings(path_prefix="/berth/test", days=14, key=key.arn)
acl = WebAcl("firewall", WebAclArgs(
    stack_name="test",
    scope="REGIONAL", mode="block", max_body_bytes=2**20, logs=logs, origin_secret="s" * 32,
    rule_groups=["AWSManagedRulesCommonRuleSet", "AWSManagedRulesKnownBadInputsRuleSet"]))
role = ApiGatewayLogs("api-logs", ApiGatewayLogsArgs(region="us-east-1"))
api = ApiGateway("api", ApiGatewayArgs(
    stack_name="test",
    load_balancer_arn=f"arn:aws:elasticloadbalancing:us-east-1:{ACCOUNT}:loadbalancer/net/b/0",
    load_balancer_host="b.elb.us-east-1.amazonaws.com", timeout_seconds=29,
    clients={
        "default": ApiClient(keys={"default": "k" * 24}, rate_per_second=50, burst=100,
                             quota=Quota(requests=1000, period="day")),
        "batch": ApiClient(keys={"default": "b" * 24}, rate_per_second=RATE, burst=7),
    },
    rate_per_second=200, burst=400, web_acl_arn=acl.arn, logs=logs,
), pulumi.ResourceOptions(depends_on=[role]))
pulumi.export("url", api.url)
"""


@pytest.fixture(scope="module")
def program(new_program: Callable[[str], Program], aws: Emulation) -> Iterator[Program]:
    """Deploy the API in an account whose APIs have a role for their logs already."""
    aws.client("apigateway").update_account(
        patchOperations=[
            {"op": "replace", "path": "/cloudwatchRoleArn", "value": aws.create_role("team")}
        ]
    )
    program = new_program("api").write(_PROGRAM.replace("RATE", "5"))
    program.up()
    yield program
    program.destroy()
    assert program.aws.client("apigateway").get_rest_apis()["items"] == []
    assert program.aws.client("wafv2").list_web_acls(Scope="REGIONAL")["WebACLs"] == []


@pytest.fixture
def gateway(aws: Emulation) -> Any:
    return aws.client("apigateway")


def _api(gateway: Any) -> str:
    (api,) = gateway.get_rest_apis()["items"]
    return str(api["id"])


def test_second_preview_is_empty(program: Program) -> None:
    assert program.changes() == {}


def test_role_with_which_the_account_logs_stays(
    program: Program, aws: Emulation, gateway: Any
) -> None:
    assert gateway.get_account()["cloudwatchRoleArn"].endswith(":role/team")
    roles = aws.client("iam").list_roles()["Roles"]
    assert not [role["RoleName"] for role in roles if "api-logs" in role["RoleName"]]


def test_api_is_regional_and_exports_its_url(program: Program, gateway: Any) -> None:
    (api,) = gateway.get_rest_apis()["items"]
    assert api["endpointConfiguration"]["types"] == ["REGIONAL"]
    assert program.outputs()["url"].startswith(f"https://{api['id']}.execute-api.")


def test_each_client_has_api_key_and_usage_plan(program: Program, gateway: Any) -> None:
    plans = {plan["name"].rpartition("-")[0]: plan for plan in gateway.get_usage_plans()["items"]}
    assert plans["api-default"]["throttle"] == {"rateLimit": 50.0, "burstLimit": 100}
    assert plans["api-default"]["quota"]["limit"] == 1000
    assert plans["api-default"]["quota"]["period"] == "DAY"
    assert "quota" not in plans["api-batch"]
    (key,) = gateway.get_usage_plan_keys(usagePlanId=plans["api-batch"]["id"])["items"]
    assert gateway.get_api_key(apiKey=key["id"], includeValue=True)["value"] == "b" * 24


def test_stage_limits_all_clients_together_and_logs(program: Program, gateway: Any) -> None:
    stage = gateway.get_stage(restApiId=_api(gateway), stageName="v2")
    settings = stage["methodSettings"]["*/*"]
    assert (settings["throttlingRateLimit"], settings["throttlingBurstLimit"]) == (200.0, 400)
    assert settings.get("dataTraceEnabled") is not True
    example = stage["accessLogSettings"]["format"]
    for name in ("$context.status", "$context.responseLatency", "$context.responseLength"):
        example = example.replace(name, "1")
    assert set(json.loads(example)) >= {"status", "latency", "path", "client"}
    assert set(stage["variables"]) == {"vpcLinkId", "host"}


def test_stage_has_web_acl_that_redacts_secrets(
    program: Program, aws: Emulation, gateway: Any
) -> None:
    waf = aws.client("wafv2")
    stage = f"arn:aws:apigateway:us-east-1::/restapis/{_api(gateway)}/stages/v2"
    found = waf.get_web_acl_for_resource(ResourceArn=stage)["WebACL"]
    rules = sorted(found["Rules"], key=lambda rule: rule["Priority"])
    assert [rule["Name"] for rule in rules] == [
        "from-edge", "body-size", "AWSManagedRulesCommonRuleSet",
        "AWSManagedRulesKnownBadInputsRuleSet",
    ]  # fmt: skip
    size = rules[1]["Action"]["Block"]["CustomResponse"]
    assert size["ResponseCode"] == 413
    assert json.loads(found["CustomResponseBodies"][size["CustomResponseBodyKey"]]["Content"]) == {
        "error": "The request body exceeds 1048576 bytes."
    }
    logging = waf.get_logging_configuration(ResourceArn=found["ARN"])["LoggingConfiguration"]
    hidden = {field["SingleHeader"]["Name"] for field in logging["RedactedFields"]}
    assert hidden == {"x-api-key", "x-origin-verify"}
    assert ":aws-waf-logs-" in logging["LogDestinationConfigs"][0]


def test_state_has_no_plaintext_secret(program: Program) -> None:
    for resource in program.resources():
        state = json.dumps(resource)
        leaked = [secret for secret in ("k" * 24, "b" * 24, "s" * 32) if secret in state]
        assert not leaked, (resource["urn"], state)


def test_changed_rate_limit_updates_only_usage_plan(program: Program, gateway: Any) -> None:
    """A deployment is replaced only if the API definition changes."""
    program.write(_PROGRAM.replace("RATE", "9"))
    assert set(program.changes()) == {
        "berth:aws:ApiGateway$aws:apigateway/usagePlan:UsagePlan::api-batch"
    }
    changed = _PROGRAM.replace("RATE", "5").replace("timeout_seconds=29", "timeout_seconds=20")
    program.write(changed)
    touched = {name.rpartition("::")[0].rpartition(":")[2] for name in program.changes()}
    assert {"RestApi", "Deployment", "Stage"} <= touched
    program.write(_PROGRAM.replace("RATE", "5"))
