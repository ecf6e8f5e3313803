"""What AWS answers to `berth bootstrap` that the emulator never does."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from berth.errors import OperationError
from berth.operations.state_bucket import StateBucket
from berth.operations.state_key import ensure_key
from berth.platforms.aws.errors import explain_aws_errors

_OURS = {"Bucket": "berth-state", "ExpectedBucketOwner": "123456789012"}


def _client(service: str) -> Any:
    return boto3.client(
        service, region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


def _said(act: Callable[[], Any]) -> str:
    with pytest.raises(OperationError) as told, explain_aws_errors("docs/rights.md"):
        act()
    return str(told.value)


def _bucket(s3: Any) -> StateBucket:
    return StateBucket(s3=s3, name="berth-state", account="123456789012")


def test_somebody_elses_bucket_is_left_alone() -> None:
    s3 = _client("s3")
    with Stubber(s3) as stub:
        stub.add_client_error("head_bucket", "403", expected_params=_OURS)
        said = _said(_bucket(s3).is_there)
        stub.assert_no_pending_responses()
    assert "belongs to another account than 123456789012" in said
    assert "--bucket" in said


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("BucketAlreadyExists", "names are shared by all of AWS: choose another with --bucket"),
        ("InvalidBucketName", "S3 does not take berth-state as a name"),
        ("AccessDenied", "the rights that this needs: docs/rights.md"),
        ("ExpiredToken", "aws sso login"),
    ],
)
def test_a_bucket_that_cannot_be_made_is_told(code: str, says: str) -> None:
    s3 = _client("s3")
    where = {"LocationConstraint": "eu-central-1"}
    with Stubber(s3) as stub:
        stub.add_client_error("head_bucket", "404", expected_params=_OURS)
        stub.add_client_error(
            "create_bucket",
            code,
            expected_params={"Bucket": "berth-state", "CreateBucketConfiguration": where},
        )
        assert says in _said(lambda: _bucket(s3).ensure("arn:aws:kms:eu-central-1:1:key/a"))
        stub.assert_no_pending_responses()


def test_what_else_a_bucket_has_stays() -> None:
    s3 = _client("s3")
    with Stubber(s3) as stub:
        _settings_as_they_are(stub)
        steps = _bucket(s3).ensure("arn:aws:kms:eu-central-1:1:key/a")
        stub.assert_no_pending_responses()
    changed = [step.what for step in steps if step.did == "changed"]
    assert changed == ["encryption of berth-state", "lifecycle of berth-state"]


def _settings_as_they_are(stub: Stubber) -> None:
    """A bucket that blocks an encryption, and has a rule and a statement of somebody's."""
    from pulumi_berth.aws.bucket_plan import build_bucket_policy, require_kms_key, require_tls

    key, arn = "arn:aws:kms:eu-central-1:1:key/a", "arn:aws:s3:::berth-state"
    blocked = {"BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]}}
    theirs = {
        "ID": "theirs",
        "Status": "Enabled",
        "Filter": {"Prefix": "x/"},
        "Expiration": {"Days": 9},
    }
    somebodys = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteBucket", "Resource": arn}
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
    policy = build_bucket_policy(somebodys, require_tls(arn), *require_kms_key(arn, key))
    stub.add_response("get_bucket_policy", {"Policy": policy}, _OURS)


def test_a_key_that_gets_no_name_is_given_up() -> None:
    kms = _client("kms")
    key = {"Arn": "arn:aws:kms:eu-central-1:1:key/a", "KeyId": "a"}
    with Stubber(kms) as stub:
        stub.add_client_error("describe_key", "NotFoundException")
        stub.add_response("create_key", {"KeyMetadata": key}, {"Description": "State"})
        stub.add_client_error("create_alias", "AccessDeniedException")
        stub.add_response(
            "schedule_key_deletion", {}, {"KeyId": key["Arn"], "PendingWindowInDays": 7}
        )
        said = _said(lambda: ensure_key(kms, "alias/berth-state", "State"))
        stub.assert_no_pending_responses()
    assert "docs/rights.md" in said


@pytest.mark.parametrize(
    ("state", "spec", "says"),
    [
        ("Disabled", "SYMMETRIC_DEFAULT", "aws kms enable-key --region eu-central-1"),
        ("PendingDeletion", "SYMMETRIC_DEFAULT", "aws kms cancel-key-deletion"),
        ("Enabled", "RSA_2048", "encrypts nothing for S3 or Pulumi"),
    ],
)
def test_a_key_that_cannot_be_used_is_told(state: str, spec: str, says: str) -> None:
    kms = _client("kms")
    key = {"Arn": "arn:aws:kms:eu-central-1:1:key/a", "KeyId": "a", "KeyState": state}
    with Stubber(kms) as stub:
        stub.add_response("describe_key", {"KeyMetadata": {**key, "KeySpec": spec}})
        assert says in _said(lambda: ensure_key(kms, "alias/berth-state", "State"))
