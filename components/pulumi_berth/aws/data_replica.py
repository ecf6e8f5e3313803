"""DataReplica: a replica of a bucket in another Region."""

import json
from dataclasses import dataclass

import pulumi
from pulumi_aws import iam, s3

from pulumi_berth.aws.iam_policies import service_trust_policy
from pulumi_berth.aws.private_bucket import PrivateBucket, PrivateBucketArgs, Retention
from pulumi_berth.component_args import parse_args


@dataclass(frozen=True, kw_only=True)
class DataReplicaArgs:
    """Arguments for `DataReplica`.

    Attributes:
        bucket_name: Name of the replica; see `PrivateBucketArgs`.
        account: ID of the account that owns both buckets.
        source_name: Name of the bucket to replicate.
        source_arn: ARN of that bucket.
        source_region: Region of the source.
        source_key: ARN of the source's KMS key.
        region: Region of the replica.
        key: ARN of a KMS key in that Region.
        retention: How long the replica keeps objects.
        protect: See `PrivateBucketArgs`.
    """

    bucket_name: pulumi.Input[str]
    account: pulumi.Input[str]
    source_name: pulumi.Input[str]
    source_arn: pulumi.Input[str]
    source_region: str
    source_key: pulumi.Input[str]
    region: str
    key: pulumi.Input[str]
    retention: Retention
    protect: bool | None = False


class DataReplica(pulumi.ComponentResource):
    """A bucket in another Region that receives every later upload and deletion of the source.

    Deleted objects can be recovered from the replica too.

    Attributes:
        name: Name of the replica.
        arn: ARN of the replica.
    """

    name: pulumi.Output[str]
    arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: DataReplicaArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:DataReplica", name, None, opts)
        args = parse_args(DataReplicaArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        replica = PrivateBucket(
            name,
            PrivateBucketArgs(
                bucket_name=args.bucket_name,
                account=args.account,
                region=args.region,
                retention=args.retention,
                key=args.key,
                protect=args.protect,
            ),
            child_opts,
        )
        role = iam.Role(
            name,
            assume_role_policy=pulumi.Output.all(args.source_arn, args.account).apply(
                lambda values: service_trust_policy("s3.amazonaws.com", _for_source(*values))
            ),
            opts=child_opts,
        )
        permissions = iam.RolePolicy(
            name,
            role=role.name,
            policy=pulumi.Output.all(args.source_arn, args.source_key, replica.arn, args.key).apply(
                lambda values: replication_policy(
                    BucketSide(bucket=values[0], key=values[1], region=args.source_region),
                    BucketSide(bucket=values[2], key=values[3], region=args.region),
                )
            ),
            opts=child_opts,
        )
        s3.BucketReplicationConfig(
            name,
            bucket=args.source_name,
            role=role.arn,
            rules=[_replicate_all(replica.arn, args.key)],
            region=args.source_region,
            opts=pulumi.ResourceOptions.merge(
                child_opts, pulumi.ResourceOptions(depends_on=[permissions])
            ),
        )
        self.name = replica.name
        self.arn = replica.arn
        self.register_outputs({"name": self.name, "arn": self.arn})


def _for_source(source: str, account: str) -> dict[str, dict[str, str]]:
    return {
        "StringEquals": {"aws:SourceAccount": account},
        "ArnEquals": {"aws:SourceArn": source},
    }


def _replicate_all(
    replica: pulumi.Input[str], key: pulumi.Input[str]
) -> s3.BucketReplicationConfigRuleArgs:
    return s3.BucketReplicationConfigRuleArgs(
        id="everything",
        status="Enabled",
        priority=0,
        filter=s3.BucketReplicationConfigRuleFilterArgs(prefix=""),
        delete_marker_replication=s3.BucketReplicationConfigRuleDeleteMarkerReplicationArgs(
            status="Enabled"
        ),
        # Otherwise S3 skips objects that are encrypted with a KMS key.
        source_selection_criteria=s3.BucketReplicationConfigRuleSourceSelectionCriteriaArgs(
            sse_kms_encrypted_objects=s3.BucketReplicationConfigRuleSourceSelectionCriteriaSseKmsEncryptedObjectsArgs(
                status="Enabled"
            )
        ),
        destination=s3.BucketReplicationConfigRuleDestinationArgs(
            bucket=replica,
            encryption_configuration=s3.BucketReplicationConfigRuleDestinationEncryptionConfigurationArgs(
                replica_kms_key_id=key
            ),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class BucketSide:
    """ARNs of a bucket and its KMS key, and the Region of both."""

    bucket: str
    key: str
    region: str


def replication_policy(source: BucketSide, replica: BucketSide) -> str:
    """Return the minimal IAM policy for replication between two buckets.

    With bucket keys, the encryption context in a KMS request is the bucket, not the object.
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
            f"{replica.bucket}/*",
            None,
        ),
        (["kms:Decrypt"], source.key, source),
        (["kms:Encrypt", "kms:GenerateDataKey"], replica.key, replica),
    ]
    statements = [
        {
            "Effect": "Allow",
            "Action": actions,
            "Resource": resource,
            **({"Condition": _only_through_s3(side)} if side is not None else {}),
        }
        for actions, resource, side in allowed
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _only_through_s3(side: BucketSide) -> dict[str, dict[str, str]]:

    return {
        "StringEquals": {
            "kms:ViaService": f"s3.{side.region}.amazonaws.com",
            "kms:EncryptionContext:aws:s3:arn": side.bucket,
        }
    }
