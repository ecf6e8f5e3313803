"""The role with which API Gateway writes logs belongs to the account, not to a stack."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from pulumi_berth.aws import api_log_role
from pulumi_berth.aws.api_log_role import ApiLogRoleError, ensure_role, find_role
from pulumi_berth.aws_identity import AwsIdentity
from pulumi_berth.providers import ApiLogRoleProvider

_REGION = "eu-central-1"
_WRITE_LOGS = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "logs:PutLogEvents", "Resource": "*"}],
    }
)
_INPUTS = {"region": _REGION, "tags": {"owner": "us"}}


@pytest.fixture(autouse=True)
def _account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run each test in an empty account of an in-process emulator."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(api_log_role, "get_identity", AwsIdentity)
    with mock_aws():
        # The emulator takes seconds to load AWS's own policies.
        policy = boto3.client("iam").create_policy(
            PolicyName=api_log_role.POLICY.rpartition("/")[2], PolicyDocument=_WRITE_LOGS
        )
        monkeypatch.setattr(api_log_role, "POLICY", policy["Policy"]["Arn"])
        yield


def _roles() -> list[str]:
    return [role["RoleName"] for role in boto3.client("iam").list_roles()["Roles"]]


def _set(arn: str) -> None:
    patch = [{"op": "replace", "path": "/cloudwatchRoleArn", "value": arn}]
    boto3.client("apigateway", _REGION).update_account(patchOperations=patch)


def _get() -> str | None:
    account: dict[str, str] = boto3.client("apigateway", _REGION).get_account()
    return account.get("cloudwatchRoleArn")


def test_account_without_a_role_gets_one_that_can_write_logs() -> None:
    arn = ensure_role(_INPUTS)
    assert _get() == arn
    (name,) = _roles()
    assert arn.endswith(f":role/{name}")
    iam = boto3.client("iam")
    (policy,) = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    assert policy["PolicyName"] == "AmazonAPIGatewayPushToCloudWatchLogs"
    assert iam.list_role_tags(RoleName=name)["Tags"] == [{"Key": "owner", "Value": "us"}]


def test_role_of_another_team_is_used_and_not_replaced() -> None:
    iam = boto3.client("iam")
    team = iam.create_role(RoleName="team", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    _set(team)
    assert ensure_role(_INPUTS) == team
    assert (_get(), _roles()) == (team, ["team"])


def test_role_that_an_earlier_stack_left_is_used_again() -> None:
    provider = ApiLogRoleProvider()
    first = provider.create(dict(_INPUTS))
    provider.delete(first.id, dict(_INPUTS))
    assert provider.create(dict(_INPUTS)).id == first.id
    assert len(_roles()) == 1


def test_setting_that_names_a_deleted_role_counts_as_none() -> None:
    _set("arn:aws:iam::123456789012:role/deleted")
    assert find_role(_REGION) is None
    assert ensure_role(_INPUTS) == _get()
    assert ApiLogRoleProvider().read("x", dict(_INPUTS)).id == "x"


def test_role_that_somebody_removed_is_created_by_the_next_refresh() -> None:
    assert ApiLogRoleProvider().read("x", dict(_INPUTS)).id == ""


def _refuse(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let API Gateway refuse a new role, as AWS does until IAM shows it to every service."""
    create, left = AwsIdentity.create_client, [times]

    def client(self: AwsIdentity, service: str, **options: Any) -> Any:
        found = create(self, service, **options)
        if service == "apigateway":
            update = found.update_account

            def refuse(**arguments: Any) -> Any:
                if left[0]:
                    left[0] -= 1
                    response = {"Error": {"Code": "BadRequestException", "Message": "not yet"}}
                    raise ClientError(response, "UpdateAccount")
                return update(**arguments)

            found.update_account = refuse
        return found

    monkeypatch.setattr(AwsIdentity, "create_client", client)


def test_role_that_is_not_visible_yet_is_set_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse(monkeypatch, times=2)
    pauses: list[float] = []
    assert ensure_role(_INPUTS, sleep=pauses.append) == _get()
    assert len(pauses) == 2


def test_role_that_cannot_be_set_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse(monkeypatch, times=1000)
    with pytest.raises(ApiLogRoleError, match="apigateway:PATCH on /account"):
        ensure_role(_INPUTS, sleep=lambda _: None)
    assert _roles() == []
