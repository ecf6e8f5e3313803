"""What the policy of a bucket says: a function for each statement."""

import json
from collections.abc import Mapping
from typing import Any


def bucket_policy(*statements: Mapping[str, Any]) -> str:
    """The policy with these statements, as S3 takes it."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def over_tls_alone(bucket: str) -> dict[str, Any]:
    """Nobody reaches the bucket (its ARN) or an object in it without TLS.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html
    """
    return {
        "Sid": "OverTlsAlone",
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "s3:*",
        "Resource": [bucket, f"{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def under_its_key_alone(bucket: str, key: str) -> list[dict[str, Any]]:
    """An upload to the bucket (its ARN) that asks for other encryption than with `key` is refused.

    One that asks for nothing passes, since S3 then encrypts with the bucket's own key. One that
    asks for KMS and names no key is refused: S3 would take the account's `aws/s3` for it.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
    """
    return [
        _no_upload(
            bucket,
            "UnderItsKeyAlone",
            {
                "Null": {"s3:x-amz-server-side-encryption": "false"},
                "StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": key},
            },
        ),
        _no_upload(
            bucket,
            "NoKeyOfTheCaller",
            {"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "false"}},
        ),
    ]


def log_delivery(bucket: str, source: str, account: str) -> dict[str, Any]:
    """S3 may deliver the access log of the bucket `source` of the account to `bucket` (ARNs).

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
    """
    return {
        "Sid": "AccessLogDelivery",
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"{bucket}/*",
        "Condition": {
            "ArnEquals": {"aws:SourceArn": source},
            "StringEquals": {"aws:SourceAccount": account},
        },
    }


def _no_upload(bucket: str, sid: str, condition: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "s3:PutObject",
        "Resource": f"{bucket}/*",
        "Condition": dict(condition),
    }
