"""Requests that a bucket policy denies, by IAM's evaluation rules."""

import json

import pytest

from pulumi_berth.aws.bucket_plan import (
    allow_log_delivery,
    build_bucket_policy,
    require_kms_key,
    require_tls,
)

_BUCKET, _KEY = "arn:aws:s3:::ours", "arn:aws:kms:eu-central-1:123456789012:key/ours"
_OTHER_KEY = _KEY.replace("ours", "theirs")
_ENCRYPTION, _KEY_ID, _CUSTOMER_KEY = (
    f"s3:x-amz-server-side-encryption{suffix}"
    for suffix in ("", "-aws-kms-key-id", "-customer-algorithm")
)
_STATEMENTS = [require_tls(_BUCKET), *require_kms_key(_BUCKET, _KEY)]


def _is_denied(action: str, resource: str, request: dict[str, str]) -> bool:
    return any(
        statement["Action"] in (action, "s3:*")
        and _covers(statement["Resource"], resource)
        and all(
            _holds(operator, key, value, request)
            for operator, conditions in statement["Condition"].items()
            for key, value in conditions.items()
        )
        for statement in _STATEMENTS
    )


def _covers(pattern: str | list[str], resource: str) -> bool:
    patterns = [pattern] if isinstance(pattern, str) else pattern
    return any(one == resource or resource.startswith(one.removesuffix("*")) for one in patterns)


def _holds(operator: str, key: str, value: str, request: dict[str, str]) -> bool:
    """Evaluate an IAM condition.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
    """
    match operator:
        case "Null":
            return (key not in request) == (value == "true")
        case "StringNotEquals":  # true if the request does not have the key
            return request.get(key) != value
        case "Bool":
            return request.get(key) == value
    raise AssertionError(operator)


@pytest.mark.parametrize(
    ("headers", "is_denied"),
    [
        ({}, False),
        ({_ENCRYPTION: "aws:kms", _KEY_ID: _KEY}, False),
        ({_ENCRYPTION: "aws:kms:dsse", _KEY_ID: _KEY}, False),
        ({_ENCRYPTION: "aws:kms", _KEY_ID: _OTHER_KEY}, True),
        ({_ENCRYPTION: "aws:kms"}, True),
        ({_ENCRYPTION: "AES256"}, True),
        ({_CUSTOMER_KEY: "AES256"}, True),
    ],
)
def test_upload_with_other_encryption_than_bucket_key_is_denied(
    headers: dict[str, str], is_denied: bool
) -> None:
    request = {"aws:SecureTransport": "true", **headers}
    assert _is_denied("s3:PutObject", f"{_BUCKET}/prices/7/a.csv", request) == is_denied


@pytest.mark.parametrize("resource", [_BUCKET, f"{_BUCKET}/prices/7/a.csv"])
@pytest.mark.parametrize("action", ["s3:GetObject", "s3:ListBucket", "s3:DeleteObject"])
def test_request_without_tls_is_denied(action: str, resource: str) -> None:
    assert _is_denied(action, resource, {"aws:SecureTransport": "false"})
    assert not _is_denied(action, resource, {"aws:SecureTransport": "true"})


def test_log_delivery_is_allowed_from_one_bucket_of_one_account() -> None:
    policy = json.loads(
        build_bucket_policy(allow_log_delivery("arn:aws:s3:::logs", _BUCKET, "123456789012"))
    )
    (statement,) = policy["Statement"]
    assert statement["Principal"] == {"Service": "logging.s3.amazonaws.com"}
    assert statement["Action"] == "s3:PutObject"
    assert statement["Resource"] == "arn:aws:s3:::logs/*"
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": _BUCKET},
        "StringEquals": {"aws:SourceAccount": "123456789012"},
    }
