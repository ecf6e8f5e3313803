"""Responses to `berth bootstrap` that AWS gives and the emulator does not."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from berth.errors import OperationError
from berth.platforms.aws.errors import explain_aws_errors
from berth.platforms.aws.state_bucket import StateBucket
from berth.platforms.aws.state_key import ensure_key

_OURS = {"Bucket": "berth-state", "ExpectedBucketOwner": "123456789012"}


def _client(service: str) -> Any:
    return boto3.client(
        service, region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


def _error(act: Callable[[], Any]) -> str:
    with pytest.raises(OperationError) as caught, explain_aws_errors("docs/permissions.md"):
        act()
    return str(caught.value)


def _bucket(s3: Any) -> StateBucket:
    return StateBucket(s3=s3, name="berth-state", account="123456789012")


def test_bucket_of_another_account_is_rejected() -> None:
    s3 = _client("s3")
    with Stubber(s3) as stub:
        stub.add_client_error("head_bucket", "403", expected_params=_OURS)
        error = _error(_bucket(s3).exists)
        stub.assert_no_pending_responses()
    assert "belongs to another account than 123456789012" in error
    assert "--bucket" in error


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("BucketAlreadyExists", "are unique in all of AWS. Choose another with --bucket"),
        ("InvalidBucketName", "'berth-state' is not a valid S3 bucket name"),
        ("AccessDenied", "See docs/permissions.md for the required permissions"),
        ("ExpiredToken", "aws sso login"),
    ],
)
def test_failed_bucket_creation_is_reported(code: str, expected: str) -> None:
    s3 = _client("s3")
    where = {"LocationConstraint": "eu-central-1"}
    with Stubber(s3) as stub:
        stub.add_client_error("head_bucket", "404", expected_params=_OURS)
        stub.add_client_error(
            "create_bucket",
            code,
            expected_params={"Bucket": "berth-state", "CreateBucketConfiguration": where},
        )
        assert expected in _error(lambda: _bucket(s3).ensure("arn:aws:kms:eu-central-1:1:key/a"))
        stub.assert_no_pending_responses()


def test_other_rules_of_existing_bucket_are_kept() -> None:
    s3 = _client("s3")
    with Stubber(s3) as stub:
        _add_existing_settings(stub)
        steps = _bucket(s3).ensure("arn:aws:kms:eu-central-1:1:key/a")
        stub.assert_no_pending_responses()
    changed = [step.target for step in steps if step.action == "changed"]
    assert changed == ["encryption of berth-state", "lifecycle of berth-state"]


def _add_existing_settings(stub: Stubber) -> None:
    """A bucket that blocks an encryption type, with a rule and a statement of another owner."""
    from pulumi_berth.aws.bucket_plan import build_bucket_policy, require_kms_key, require_tls

    key, arn = "arn:aws:kms:eu-central-1:1:key/a", "arn:aws:s3:::berth-state"
    blocked = {"BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]}}
    theirs = {
        "ID": "theirs",
        "Status": "Enabled",
        "Filter": {"Prefix": "x/"},
        "Expiration": {"Days": 9},
    }
    foreign = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteBucket", "Resource": arn}
    stub.add_response("head_bucket", {"BucketRegion": "eu-central-1"}, _OURS)
    closed = dict.fromkeys(
        ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"], True
    )
    stub.add_response("get_public_access_block", {"PublicAccessBlockConfiguration": closed}, _OURS)
    owner = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    stub.add_response("get_bucket_ownership_controls", {"OwnershipControls": owner}, _OURS)
    stub.add_response("get_bucket_versioning", {"Status": "Enabled"}, _OURS)
    by_s3 = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, **blocked}
    stub.add_response(
        "get_bucket_encryption", {"ServerSideEncryptionConfiguration": {"Rules": [by_s3]}}, _OURS
    )
    by_key = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key},
        "BucketKeyEnabled": True,
        **blocked,
    }
    stub.add_response(
        "put_bucket_encryption",
        {},
        _OURS | {"ServerSideEncryptionConfiguration": {"Rules": [by_key]}},
    )
    stub.add_response("get_bucket_lifecycle_configuration", {"Rules": [theirs]}, _OURS)
    ours = {
        "ID": "berth-state",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 90},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    stub.add_response(
        "put_bucket_lifecycle_configuration",
        {},
        _OURS | {"LifecycleConfiguration": {"Rules": [theirs, ours]}},
    )
    policy = build_bucket_policy(foreign, require_tls(arn), *require_kms_key(arn, key))
    stub.add_response("get_bucket_policy", {"Policy": policy}, _OURS)


def test_key_without_alias_is_scheduled_for_deletion() -> None:
    kms = _client("kms")
    key = {"Arn": "arn:aws:kms:eu-central-1:1:key/a", "KeyId": "a"}
    with Stubber(kms) as stub:
        stub.add_client_error("describe_key", "NotFoundException")
        stub.add_response("create_key", {"KeyMetadata": key}, {"Description": "State"})
        stub.add_client_error("create_alias", "AccessDeniedException")
        stub.add_response(
            "schedule_key_deletion", {}, {"KeyId": key["Arn"], "PendingWindowInDays": 7}
        )
        error = _error(lambda: ensure_key(kms, "alias/berth-state", "State"))
        stub.assert_no_pending_responses()
    assert "docs/permissions.md" in error


@pytest.mark.parametrize(
    ("state", "spec", "expected"),
    [
        ("Disabled", "SYMMETRIC_DEFAULT", "is disabled. To enable it, run the same command with"),
        ("PendingDeletion", "SYMMETRIC_DEFAULT", "run the same command with --restore-keys"),
        ("PendingImport", "SYMMETRIC_DEFAULT", "has state PendingImport, in which it cannot"),
        ("Enabled", "RSA_2048", "cannot encrypt for S3 or Pulumi"),
    ],
)
def test_unusable_key_is_reported(state: str, spec: str, expected: str) -> None:
    kms = _client("kms")
    key = {"Arn": "arn:aws:kms:eu-central-1:1:key/a", "KeyId": "a", "KeyState": state}
    with Stubber(kms) as stub:
        stub.add_response("describe_key", {"KeyMetadata": {**key, "KeySpec": spec}})
        assert expected in _error(lambda: ensure_key(kms, "alias/berth-state", "State"))


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
def test_key_is_restored_on_request(state: str) -> None:
    kms = _client("kms")
    arn = "arn:aws:kms:eu-central-1:1:key/a"
    key = {"Arn": arn, "KeyId": "a", "KeyState": state, "KeySpec": "SYMMETRIC_DEFAULT"}
    with Stubber(kms) as stub:
        stub.add_response("describe_key", {"KeyMetadata": key})
        if state == "PendingDeletion":
            stub.add_response("cancel_key_deletion", {"KeyId": "a"}, {"KeyId": "a"})
        stub.add_response("enable_key", {}, {"KeyId": "a"})
        stub.add_response("get_key_rotation_status", {"KeyRotationEnabled": True}, {"KeyId": arn})
        found, steps = ensure_key(kms, "alias/berth-state", "State", restore=True)
        stub.assert_no_pending_responses()
    assert found == arn
    assert [(step.target, step.action) for step in steps] == [
        ("key alias/berth-state", "changed"), ("rotation of alias/berth-state", "unchanged"),
    ]  # fmt: skip
