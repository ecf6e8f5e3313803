"""Permissions of S3 for replication, and retention of buckets."""

import json

import pytest

from pulumi_berth.aws.data_replica import BucketSide, replication_policy
from pulumi_berth.aws.private_bucket import Retention

_SOURCE = BucketSide(
    bucket="arn:aws:s3:::data", key="arn:aws:kms:eu-central-1:1:key/a", region="eu-central-1"
)
_REPLICA = BucketSide(
    bucket="arn:aws:s3:::replica", key="arn:aws:kms:eu-west-1:1:key/b", region="eu-west-1"
)


def test_replication_reads_source_and_writes_replica() -> None:
    statements = json.loads(replication_policy(_SOURCE, _REPLICA))["Statement"]
    allowed = {one["Resource"]: set(one["Action"]) for one in statements}
    assert len(allowed) == len(statements)
    assert allowed == {
        _SOURCE.bucket: {"s3:GetReplicationConfiguration", "s3:ListBucket"},
        f"{_SOURCE.bucket}/*": {
            "s3:GetObjectVersionAcl", "s3:GetObjectVersionForReplication",
            "s3:GetObjectVersionTagging",
        },
        f"{_REPLICA.bucket}/*": {"s3:ReplicateDelete", "s3:ReplicateObject", "s3:ReplicateTags"},
        _SOURCE.key: {"kms:Decrypt"},
        _REPLICA.key: {"kms:Encrypt", "kms:GenerateDataKey"},
    }  # fmt: skip


@pytest.mark.parametrize("side", [_SOURCE, _REPLICA])
def test_replication_uses_each_key_only_for_its_bucket(side: BucketSide) -> None:
    statements = json.loads(replication_policy(_SOURCE, _REPLICA))["Statement"]
    (condition,) = (one["Condition"] for one in statements if one["Resource"] == side.key)
    assert condition["StringEquals"] == {
        "kms:ViaService": f"s3.{side.region}.amazonaws.com",
        "kms:EncryptionContext:aws:s3:arn": side.bucket,
    }


def test_archiving_earlier_than_s3_allows_is_rejected() -> None:
    assert Retention(noncurrent_version_days=1, archive_after_days=30)
    with pytest.raises(ValueError, match="archive_after_days is 29; S3 requires at least 30"):
        Retention(noncurrent_version_days=1, archive_after_days=29)
