"""The components `ModelRegistry` and `RegistryReplication`."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.aws.emulation import Emulation
from tests.aws.program import Program

_PROGRAM = """
from pulumi_berth.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from pulumi_berth.aws.model_registry import (
    ModelRegistry, ModelRegistryArgs, RegistryReader, RegistryReplication, RegistryReplicationArgs,
    ReplicationTarget,
)

key = EncryptionKey("images", EncryptionKeyArgs(
    stack_name="test",
    purpose="Images", account="123456789012", deletion_window_days=7))
ModelRegistry("registry", ModelRegistryArgs(
    name_prefix="berth-test", repositories=["digits", "gateway"], key=key.arn, keep_images=5,
    keep_untagged_days=14, readers=[RegistryReader(account="210987654321", roles=["deployer"])],
    protect=PROTECT))
RegistryReplication("copies", RegistryReplicationArgs(
    name_prefix="berth-test", region="us-east-1", account="123456789012", targets=[
        ReplicationTarget(region="eu-west-1", account="123456789012")]))
"""


@pytest.fixture(scope="module")
def program(new_program: Callable[[str], Program]) -> Iterator[Program]:
    program = new_program("registry").write(_PROGRAM.replace("PROTECT", "True"))
    program.up()
    yield program
    program.write(_PROGRAM.replace("PROTECT", "False"))
    program.up()
    program.destroy()
    assert program.aws.client("ecr").describe_repositories()["repositories"] == []


@pytest.fixture
def ecr(aws: Emulation) -> Any:
    return aws.client("ecr")


def test_second_preview_is_empty(program: Program) -> None:
    assert program.changes() == {}


def test_repositories_have_immutable_tags_scan_and_kms_key(program: Program, ecr: Any) -> None:
    found = ecr.describe_repositories()["repositories"]
    assert {one["repositoryName"] for one in found} == {"berth-test/digits", "berth-test/gateway"}
    for one in found:
        assert one["imageTagMutability"] == "IMMUTABLE"
        assert one["imageScanningConfiguration"] == {"scanOnPush": True}
        assert one["encryptionConfiguration"]["encryptionType"] == "KMS"


def test_readers_can_only_pull(program: Program, ecr: Any) -> None:
    text = ecr.get_repository_policy(repositoryName="berth-test/digits")["policyText"]
    (statement,) = json.loads(text)["Statement"]
    assert statement["Principal"] == {"AWS": ["arn:aws:iam::210987654321:root"]}
    assert set(statement["Action"]) == {
        "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer",
    }  # fmt: skip
    assert statement["Condition"] == {
        "ArnLike": {
            "aws:PrincipalArn": [
                "arn:aws:iam::210987654321:role/berth-*-nodes-*",
                "arn:aws:iam::210987654321:role/*/berth-*-nodes-*",
                "arn:aws:iam::210987654321:role/deployer",
                "arn:aws:iam::210987654321:role/*/deployer",
            ]
        }
    }


def test_images_are_replicated(program: Program, ecr: Any) -> None:
    (rule,) = ecr.describe_registry()["replicationConfiguration"]["rules"]
    assert [one["region"] for one in rule["destinations"]] == ["eu-west-1"]
    assert rule["repositoryFilters"][0]["filter"] == "berth-test/"


def test_images_that_were_pushed_before_the_rule_are_copied_too(program: Program) -> None:
    (backfill,) = (
        resource
        for resource in program.resources()
        if resource["type"] == "pulumi-python:dynamic/berth:ReplicationBackfill"
    )
    assert backfill["outputs"]["target_region"] == "eu-west-1"
    assert len(backfill["id"]) == 36


def test_protected_registry_rejects_destroy(program: Program, ecr: Any) -> None:
    refused = program.pulumi("destroy", "--yes", "--stack", "test", code=1)
    assert "protected" in refused.stdout + refused.stderr
    assert len(ecr.describe_repositories()["repositories"]) == 2
