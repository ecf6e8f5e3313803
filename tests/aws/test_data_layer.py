"""The component `DataLayer`: bucket, access log, replica."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.aws.emulation import ACCOUNT, REGION, Emulation
from tests.aws.program import Program

_REPLICA_REGION = "eu-west-1"
_PROGRAM = """
import pulumi
from pulumi_aws import kms
from pulumi_berth.aws.data_layer import DataLayer, DataLayerArgs, ReplicaTarget
from pulumi_berth.aws.encryption_key import EncryptionKey, EncryptionKeyArgs

key = EncryptionKey("data-key", EncryptionKeyArgs(
    stack_name="test",
    purpose="Data", account="123456789012", deletion_window_days=7))
replica_key = kms.Key("there", region="eu-west-1", deletion_window_in_days=7)
data = DataLayer("data", DataLayerArgs(
    name_prefix="berth-test", account="123456789012", region="us-east-1", key=key.arn,
    noncurrent_version_days=90,
    archive_after_days=45, log_days=365,
    replica=ReplicaTarget(region="eu-west-1", key=replica_key.arn),
    protect=PROTECT))
pulumi.export("name", data.bucket_name)
pulumi.export("arn", data.bucket_arn)
pulumi.export("key", key.arn)
pulumi.export("replica_key", replica_key.arn)
"""


@pytest.fixture(scope="module")
def program(new_program: Callable[[str], Program]) -> Iterator[Program]:
    program = new_program("data").write(_PROGRAM.replace("PROTECT", "True"))
    program.up()
    yield program
    program.write(_PROGRAM.replace("PROTECT", "False"))
    program.up()
    program.destroy()
    assert _names(program.aws) == []
    assert not [
        role
        for role in program.aws.client("iam").list_roles()["Roles"]
        if role["RoleName"].startswith("data-replica")
    ]


def _names(aws: Emulation) -> list[str]:
    found = aws.client("s3").list_buckets()["Buckets"]
    return [one["Name"] for one in found if one["Name"].startswith("berth-test-data")]


@pytest.fixture(scope="module")
def outputs(program: Program) -> dict[str, Any]:
    return program.outputs()


@pytest.fixture
def s3(aws: Emulation) -> Any:
    return aws.client("s3")


@pytest.fixture
def s3_replica(aws: Emulation) -> Any:
    return aws.client("s3", _REPLICA_REGION)


@pytest.fixture(scope="module")
def log(program: Program) -> str:
    (name,) = (one for one in _names(program.aws) if one.startswith("berth-test-data-log-"))
    return name


@pytest.fixture(scope="module")
def replica(program: Program) -> str:
    (name,) = (one for one in _names(program.aws) if one.startswith("berth-test-data-replica-"))
    return name


def _statements(s3: Any, bucket: str) -> dict[str, Any]:
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    return {one["Sid"]: one for one in policy["Statement"]}


def _default_encryption(s3: Any, bucket: str) -> dict[str, Any]:
    found = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    (rule,) = found["Rules"]
    return dict(rule)


def test_second_preview_is_empty(program: Program) -> None:
    assert program.changes() == {}


def test_every_bucket_is_private_versioned_and_requires_tls(
    program: Program, aws: Emulation, log: str, replica: str
) -> None:
    names = _names(aws)
    assert len(names) == 3
    for name in names:
        s3 = aws.client("s3", _REPLICA_REGION if name == replica else REGION)
        blocked = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
        assert set(blocked.values()) == {True}
        (owner,) = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
        assert owner == {"ObjectOwnership": "BucketOwnerEnforced"}
        assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
        statements = _statements(s3, name)
        assert statements["RequireTls"]["Effect"] == "Deny"
        assert ("RequireKmsKey" in statements) == (name != log)


def test_objects_are_encrypted_with_the_kms_key(outputs: dict[str, Any], s3: Any) -> None:
    assert outputs["name"].startswith("berth-test-data-")
    assert outputs["arn"] == f"arn:aws:s3:::{outputs['name']}"
    assert _default_encryption(s3, outputs["name"])["ApplyServerSideEncryptionByDefault"] == {
        "SSEAlgorithm": "aws:kms", "KMSMasterKeyID": outputs["key"],
    }  # fmt: skip
    assert _default_encryption(s3, outputs["name"])["BucketKeyEnabled"] is True


def test_lifecycle_has_configured_days(outputs: dict[str, Any], s3: Any) -> None:
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=outputs["name"])["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert rule["Transitions"] == [{"Days": 45, "StorageClass": "STANDARD_IA"}]
    assert rule["Expiration"] == {"ExpiredObjectDeleteMarker": True}


def test_access_log_is_in_separate_bucket_and_expires(
    outputs: dict[str, Any], s3: Any, log: str
) -> None:
    logging = s3.get_bucket_logging(Bucket=outputs["name"])["LoggingEnabled"]
    assert logging["TargetBucket"] == log
    delivery = _statements(s3, log)["AccessLogDelivery"]
    assert delivery["Principal"] == {"Service": "logging.s3.amazonaws.com"}
    assert delivery["Condition"]["ArnEquals"] == {"aws:SourceArn": outputs["arn"]}
    by_default = _default_encryption(s3, log)["ApplyServerSideEncryptionByDefault"]
    assert by_default == {"SSEAlgorithm": "AES256"}
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=log)["Rules"]
    assert rule["Expiration"] == {"Days": 365}


def test_all_objects_are_replicated_with_key_of_other_region(
    outputs: dict[str, Any], s3: Any, s3_replica: Any, replica: str
) -> None:
    assert s3.get_bucket_location(Bucket=replica)["LocationConstraint"] == _REPLICA_REGION
    by_default = _default_encryption(s3_replica, replica)["ApplyServerSideEncryptionByDefault"]
    assert by_default["KMSMasterKeyID"] == outputs["replica_key"]
    found = s3.get_bucket_replication(Bucket=outputs["name"])["ReplicationConfiguration"]
    (rule,) = found["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["Destination"]["Bucket"] == f"arn:aws:s3:::{replica}"
    encryption = rule["Destination"]["EncryptionConfiguration"]
    assert encryption == {"ReplicaKmsKeyID": outputs["replica_key"]}


def test_deletions_and_encrypted_objects_are_replicated(program: Program) -> None:
    # Read the state: the emulator does not return these (see emulator_differences.py).
    (declared,) = (
        one["inputs"]
        for one in program.resources()
        if one["type"] == "aws:s3/bucketReplicationConfig:BucketReplicationConfig"
    )
    (rule,) = declared["rules"]
    assert rule["deleteMarkerReplication"]["status"] == "Enabled"
    assert rule["sourceSelectionCriteria"]["sseKmsEncryptedObjects"]["status"] == "Enabled"


def test_replication_role_trusts_s3_only_for_this_bucket(
    outputs: dict[str, Any], aws: Emulation, s3: Any
) -> None:
    found = s3.get_bucket_replication(Bucket=outputs["name"])["ReplicationConfiguration"]
    role = aws.client("iam").get_role(RoleName=found["Role"].rpartition("/")[2])["Role"]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "s3.amazonaws.com"}
    assert trust["Condition"] == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnEquals": {"aws:SourceArn": outputs["arn"]},
    }


def test_protected_buckets_reject_destroy(program: Program, aws: Emulation) -> None:
    refused = program.pulumi("destroy", "--yes", "--stack", "test", code=1)
    assert "protected" in refused.stdout + refused.stderr
    assert len(_names(aws)) == 3
