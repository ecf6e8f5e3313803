"""A replication rule applies to later pushes, so earlier images are copied explicitly.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication-backfill.html
"""

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from pulumi_berth.aws import replication_backfill
from pulumi_berth.aws_identity import AwsIdentity
from tests.aws.reality.declared import declare, select

_INPUTS = {
    "region": "eu-central-1", "account": "123456789012", "target_region": "eu-west-1",
    "target_account": "123456789012", "name_prefix": "berth-dev",
}  # fmt: skip
_REQUEST = {
    "registryId": "123456789012",
    "destination": {"region": "eu-west-1", "registryId": "123456789012"},
}


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_every_target_of_a_rule_gets_the_earlier_images(stack: str) -> None:
    resources = declare(stack)
    rules = select(resources, "aws:ecr/replicationConfiguration:ReplicationConfiguration")
    targets = {
        (target["region"], target["registryId"])
        for inputs in rules.values()
        for rule in inputs["replicationConfiguration"]["rules"]
        for target in rule["destinations"]
    }
    backfills = select(resources, "pulumi-python:dynamic/berth:ReplicationBackfill").values()
    copied = {(inputs["target_region"], inputs["target_account"]) for inputs in backfills}
    assert copied == targets
    assert bool(targets) == (stack == "prod")


@pytest.fixture
def ecr(monkeypatch: pytest.MonkeyPatch) -> Any:
    client = boto3.client(
        "ecr", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    monkeypatch.setattr(AwsIdentity, "create_client", lambda *_, **__: client)
    with Stubber(client) as stub:
        yield stub


def test_backfill_is_started_for_the_target(ecr: Any) -> None:
    answer = {"replicationBackfillId": "0", "status": "PREPARING"}
    ecr.add_response("start_replication_backfill", answer, _REQUEST)
    assert replication_backfill.start_backfill(_INPUTS) == "0"


def test_backfill_in_progress_is_not_an_error(ecr: Any) -> None:
    ecr.add_client_error("start_replication_backfill", "ReplicationBackfillInProgressException")
    assert replication_backfill.start_backfill(_INPUTS) == "in progress: eu-west-1"


def test_rejected_backfill_names_the_permission(ecr: Any) -> None:
    ecr.add_client_error("start_replication_backfill", "AccessDeniedException")
    with pytest.raises(
        replication_backfill.BackfillError, match="permission ecr:StartReplicationBackfill"
    ):
        replication_backfill.start_backfill(_INPUTS)
