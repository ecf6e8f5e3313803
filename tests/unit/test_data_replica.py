"""What S3 may do to copy a bucket, and how long buckets keep what."""

import json

import pytest

from pulumi_berth.aws.bucket_lifecycle import Keeping
from pulumi_berth.aws.data_replica import Side, replication_policy

_SOURCE = Side(
    bucket="arn:aws:s3:::data", key="arn:aws:kms:eu-central-1:1:key/a", region="eu-central-1"
)
_COPY = Side(bucket="arn:aws:s3:::copy", key="arn:aws:kms:eu-west-1:1:key/b", region="eu-west-1")


def test_it_reads_the_one_and_writes_the_other() -> None:
    statements = json.loads(replication_policy(_SOURCE, _COPY))["Statement"]
    allowed = {one["Resource"]: set(one["Action"]) for one in statements}
    assert len(allowed) == len(statements)
    assert allowed == {
        _SOURCE.bucket: {"s3:GetReplicationConfiguration", "s3:ListBucket"},
        f"{_SOURCE.bucket}/*": {
            "s3:GetObjectVersionAcl", "s3:GetObjectVersionForReplication",
            "s3:GetObjectVersionTagging",
        },
        f"{_COPY.bucket}/*": {"s3:ReplicateDelete", "s3:ReplicateObject", "s3:ReplicateTags"},
        _SOURCE.key: {"kms:Decrypt"},
        _COPY.key: {"kms:Encrypt", "kms:GenerateDataKey"},
    }  # fmt: skip


@pytest.mark.parametrize("side", [_SOURCE, _COPY])
def test_a_key_serves_its_bucket_alone(side: Side) -> None:
    statements = json.loads(replication_policy(_SOURCE, _COPY))["Statement"]
    (condition,) = (one["Condition"] for one in statements if one["Resource"] == side.key)
    assert condition["StringEquals"] == {
        "kms:ViaService": f"s3.{side.region}.amazonaws.com",
        "kms:EncryptionContext:aws:s3:arn": side.bucket,
    }


def test_nothing_is_archived_before_s3_takes_it() -> None:
    assert Keeping(former_days=1, archive_after_days=30)
    with pytest.raises(ValueError, match="archive_after_days: 29; S3 takes 30 or more"):
        Keeping(former_days=1, archive_after_days=29)
