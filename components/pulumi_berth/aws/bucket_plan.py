"""Names and policies of S3 buckets, as plain data."""

import json
from collections.abc import Mapping
from typing import Any


def data_bucket_name(prefix: str, account: str, region: str, suffix: str = "") -> str:
    """Return the name of a bucket of a `DataLayer`.

    Bucket names are global, so the name contains the account ID and the Region.

    Args:
        prefix: Name prefix of the layer. Prefix and suffix together have at most 35 characters: S3
            allows 63, an account ID has 12, and the longest Region name has 14.
        suffix: `-log` or `-replica`. The bucket with the data has none.
    """
    return f"{prefix}-data{suffix}-{account}-{region}"


def build_bucket_policy(*statements: Mapping[str, Any]) -> str:
    """Return a bucket policy with these statements as JSON."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def require_tls(bucket: str) -> dict[str, Any]:
    """Return a statement that denies access without TLS.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html

    Args:
        bucket: ARN of the bucket.
    """
    return {
        "Sid": "RequireTls",
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "s3:*",
        "Resource": [bucket, f"{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def require_kms_key(bucket: str, key: str) -> list[dict[str, Any]]:
    """Return statements that deny uploads with any encryption other than the KMS key.

    An upload that requests no encryption passes, because S3 then uses the bucket's own key. An
    upload that requests KMS without naming a key is denied: S3 would use the account's `aws/s3`.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html

    Args:
        bucket: ARN of the bucket.
        key: ARN of the key.
    """
    return [
        _deny_upload(
            bucket,
            "RequireKmsKey",
            {
                "Null": {"s3:x-amz-server-side-encryption": "false"},
                "StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": key},
            },
        ),
        _deny_upload(
            bucket,
            "DenyCustomerProvidedKey",
            {"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "false"}},
        ),
    ]


def allow_log_delivery(bucket: str, source: str, account: str) -> dict[str, Any]:
    """Return a statement that lets S3 deliver the access log of one bucket to another.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html

    Args:
        bucket: ARN of the bucket that receives the log.
        source: ARN of the bucket whose access is logged.
        account: ID of the account that owns both.
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


def _deny_upload(bucket: str, sid: str, condition: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "s3:PutObject",
        "Resource": f"{bucket}/*",
        "Condition": dict(condition),
    }
