"""DataReplica: the copy of a bucket in another region."""

import json
from dataclasses import dataclass

import pulumi
from pulumi_aws import iam, s3

from pulumi_berth.aws.assume_role import assumed_by
from pulumi_berth.aws.bucket_lifecycle import Keeping
from pulumi_berth.aws.private_bucket import PrivateBucket, PrivateBucketArgs


@dataclass(frozen=True, kw_only=True)
class DataReplicaArgs:
    """What is copied, and where to.

    Attributes:
        bucket_name: of the copy; see `PrivateBucketArgs`.
        account: number of the account, of both.
        source: the bucket.
        source_region: that it lies in.
        source_key: ARN of its key.
        region: of the copy.
        key: ARN of a key there.
        keeping: how long the copy keeps what.
        protect: see `PrivateBucketArgs`.
    """

    bucket_name: pulumi.Input[str]
    account: pulumi.Input[str]
    source: PrivateBucket
    source_region: str
    source_key: pulumi.Input[str]
    region: str
    key: pulumi.Input[str]
    keeping: Keeping
    protect: bool = False


class DataReplica(pulumi.ComponentResource):
    """A bucket in another region that gets every object that is put into the first from then on,
    and every deletion: there, too, what was deleted can be had back.

    Attributes:
        name: of the copy.
        arn: of the copy.
    """

    name: pulumi.Output[str]
    arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: DataReplicaArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:DataReplica", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        copy = PrivateBucket(
            name,
            PrivateBucketArgs(
                bucket_name=args.bucket_name,
                account=args.account,
                region=args.region,
                keeping=args.keeping,
                key=args.key,
                protect=args.protect,
            ),
            inside,
        )
        role = iam.Role(
            name,
            assume_role_policy=pulumi.Output.all(args.source.arn, args.account).apply(
                lambda known: assumed_by("s3.amazonaws.com", _on_behalf_of(*known))
            ),
            opts=inside,
        )
        rights = iam.RolePolicy(
            name,
            role=role.name,
            policy=pulumi.Output.all(args.source.arn, args.source_key, copy.arn, args.key).apply(
                lambda known: replication_policy(
                    Side(bucket=known[0], key=known[1], region=args.source_region),
                    Side(bucket=known[2], key=known[3], region=args.region),
                )
            ),
            opts=inside,
        )
        s3.BucketReplicationConfig(
            name,
            bucket=args.source.name,
            role=role.arn,
            rules=[_everything(copy.arn, args.key)],
            region=args.source_region,
            opts=pulumi.ResourceOptions.merge(inside, pulumi.ResourceOptions(depends_on=[rights])),
        )
        self.name = copy.name
        self.arn = copy.arn
        self.register_outputs({"name": self.name, "arn": self.arn})


def _on_behalf_of(source: str, account: str) -> dict[str, dict[str, str]]:
    return {
        "StringEquals": {"aws:SourceAccount": account},
        "ArnEquals": {"aws:SourceArn": source},
    }


def _everything(
    copy: pulumi.Input[str], key: pulumi.Input[str]
) -> s3.BucketReplicationConfigRuleArgs:
    return s3.BucketReplicationConfigRuleArgs(
        id="everything",
        status="Enabled",
        priority=0,
        filter=s3.BucketReplicationConfigRuleFilterArgs(prefix=""),
        delete_marker_replication=s3.BucketReplicationConfigRuleDeleteMarkerReplicationArgs(
            status="Enabled"
        ),
        # Without it S3 leaves out whatever is encrypted with a key of KMS.
        source_selection_criteria=s3.BucketReplicationConfigRuleSourceSelectionCriteriaArgs(
            sse_kms_encrypted_objects=s3.BucketReplicationConfigRuleSourceSelectionCriteriaSseKmsEncryptedObjectsArgs(
                status="Enabled"
            )
        ),
        destination=s3.BucketReplicationConfigRuleDestinationArgs(
            bucket=copy,
            encryption_configuration=s3.BucketReplicationConfigRuleDestinationEncryptionConfigurationArgs(
                replica_kms_key_id=key
            ),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Side:
    """A bucket, its key (ARNs) and the region of both."""

    bucket: str
    key: str
    region: str


def replication_policy(source: Side, copy: Side) -> str:
    """What S3 may do on the way from the one to the other, and no more.

    With bucket keys what KMS is told to encrypt for is the bucket, not the object.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/setting-repl-config-perm-overview.html
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication-config-for-kms-objects.html
    """
    allowed = [
        (["s3:GetReplicationConfiguration", "s3:ListBucket"], source.bucket, None),
        (
            [
                "s3:GetObjectVersionAcl",
                "s3:GetObjectVersionForReplication",
                "s3:GetObjectVersionTagging",
            ],
            f"{source.bucket}/*",
            None,
        ),
        (
            ["s3:ReplicateDelete", "s3:ReplicateObject", "s3:ReplicateTags"],
            f"{copy.bucket}/*",
            None,
        ),
        (["kms:Decrypt"], source.key, source),
        (["kms:Encrypt", "kms:GenerateDataKey"], copy.key, copy),
    ]
    statements = [
        {
            "Effect": "Allow",
            "Action": actions,
            "Resource": resource,
            **({"Condition": _through_s3(side)} if side is not None else {}),
        }
        for actions, resource, side in allowed
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _through_s3(side: Side) -> dict[str, dict[str, str]]:
    return {
        "StringEquals": {
            "kms:ViaService": f"s3.{side.region}.amazonaws.com",
            "kms:EncryptionContext:aws:s3:arn": side.bucket,
        }
    }
