"""What passes the policy of a bucket, judged as IAM judges it."""

import json

import pytest

from pulumi_berth.aws.bucket_policy import (
    bucket_policy,
    log_delivery,
    over_tls_alone,
    under_its_key_alone,
)

_BUCKET, _KEY = "arn:aws:s3:::ours", "arn:aws:kms:eu-central-1:123456789012:key/ours"
_OTHER_KEY = _KEY.replace("ours", "theirs")
_ENCRYPTION, _KEY_ID, _OF_THE_CALLER = (
    f"s3:x-amz-server-side-encryption{suffix}"
    for suffix in ("", "-aws-kms-key-id", "-customer-algorithm")
)
_STATEMENTS = [over_tls_alone(_BUCKET), *under_its_key_alone(_BUCKET, _KEY)]


def _refused(action: str, resource: str, request: dict[str, str]) -> bool:
    return any(
        statement["Action"] in (action, "s3:*")
        and _covers(statement["Resource"], resource)
        and all(
            _holds(operator, key, value, request)
            for operator, asked in statement["Condition"].items()
            for key, value in asked.items()
        )
        for statement in _STATEMENTS
    )


def _covers(pattern: str | list[str], resource: str) -> bool:
    patterns = [pattern] if isinstance(pattern, str) else pattern
    return any(one == resource or resource.startswith(one.removesuffix("*")) for one in patterns)


def _holds(operator: str, key: str, value: str, request: dict[str, str]) -> bool:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html"""
    match operator:
        case "Null":
            return (key not in request) == (value == "true")
        case "StringNotEquals":  # holds as well where there is no such key
            return request.get(key) != value
        case "Bool":
            return request.get(key) == value
    raise AssertionError(operator)


@pytest.mark.parametrize(
    ("asks", "refused"),
    [
        ({}, False),
        ({_ENCRYPTION: "aws:kms", _KEY_ID: _KEY}, False),
        ({_ENCRYPTION: "aws:kms:dsse", _KEY_ID: _KEY}, False),
        ({_ENCRYPTION: "aws:kms", _KEY_ID: _OTHER_KEY}, True),
        ({_ENCRYPTION: "aws:kms"}, True),
        ({_ENCRYPTION: "AES256"}, True),
        ({_OF_THE_CALLER: "AES256"}, True),
    ],
)
def test_an_upload_is_under_the_buckets_key_or_refused(asks: dict[str, str], refused: bool) -> None:
    request = {"aws:SecureTransport": "true", **asks}
    assert _refused("s3:PutObject", f"{_BUCKET}/prices/7/a.csv", request) == refused


@pytest.mark.parametrize("resource", [_BUCKET, f"{_BUCKET}/prices/7/a.csv"])
@pytest.mark.parametrize("action", ["s3:GetObject", "s3:ListBucket", "s3:DeleteObject"])
def test_nothing_passes_without_tls(action: str, resource: str) -> None:
    assert _refused(action, resource, {"aws:SecureTransport": "false"})
    assert not _refused(action, resource, {"aws:SecureTransport": "true"})


def test_a_log_comes_from_one_bucket_of_one_account() -> None:
    policy = json.loads(bucket_policy(log_delivery("arn:aws:s3:::logs", _BUCKET, "123456789012")))
    (statement,) = policy["Statement"]
    assert statement["Principal"] == {"Service": "logging.s3.amazonaws.com"}
    assert statement["Action"] == "s3:PutObject"
    assert statement["Resource"] == "arn:aws:s3:::logs/*"
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": _BUCKET},
        "StringEquals": {"aws:SourceAccount": "123456789012"},
    }
