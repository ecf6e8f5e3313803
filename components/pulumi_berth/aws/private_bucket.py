"""PrivateBucket: a bucket as every bucket of a stack is: private, versioned, encrypted."""

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import s3

from pulumi_berth.aws.bucket_lifecycle import Keeping, lifecycle_rule
from pulumi_berth.aws.bucket_policy import (
    bucket_policy,
    log_delivery,
    over_tls_alone,
    under_its_key_alone,
)


@dataclass(frozen=True, kw_only=True)
class PrivateBucketArgs:
    """What a bucket is like.

    Attributes:
        bucket_name: known beforehand, for who puts data there and reads it; at most 63 characters
            (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html).
        account: number of the account.
        region: that it lies in.
        keeping: how long it keeps what.
        key: ARN of the key, of the same region, that objects are encrypted with; S3's own when
            None.
        log_source: ARN of the bucket whose access log S3 delivers here; none when None.
        protect: whether the engine refuses to delete it, and AWS while it has objects.
    """

    bucket_name: pulumi.Input[str]
    account: pulumi.Input[str]
    region: str
    keeping: Keeping
    key: pulumi.Input[str] | None = None
    log_source: pulumi.Input[str] | None = None
    protect: bool = False


class PrivateBucket(pulumi.ComponentResource):
    """Nobody outside the account reaches it, nobody at all without TLS, and everything in it is
    encrypted with its key and can be had back.

    Attributes:
        name: of the bucket, known once it is closed, versioned and encrypted.
        arn: likewise.
    """

    name: pulumi.Output[str]
    arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: PrivateBucketArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:PrivateBucket", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        bucket = s3.Bucket(
            name,
            bucket=args.bucket_name,
            force_destroy=not args.protect,
            region=args.region,
            opts=pulumi.ResourceOptions.merge(inside, pulumi.ResourceOptions(protect=args.protect)),
        )
        settings = [*_closed(name, bucket, args, inside), *_kept(name, bucket, args, inside)]
        policy = s3.BucketPolicy(
            name,
            bucket=bucket.bucket,
            policy=pulumi.Output.all(bucket.arn, args.account, args.key, args.log_source).apply(
                _policy
            ),
            region=args.region,
            # S3 refuses a change of the policy during one of the access block.
            opts=pulumi.ResourceOptions.merge(inside, pulumi.ResourceOptions(depends_on=settings)),
        )
        # Through the policy, so that what uses the bucket comes after it.
        self.name = policy.bucket
        self.arn = pulumi.Output.all(bucket.arn, policy.id).apply(lambda made: str(made[0]))
        self.register_outputs({"name": self.name, "arn": self.arn})


def _closed(
    name: str, bucket: s3.Bucket, args: PrivateBucketArgs, inside: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """What keeps others out; without access lists, policies alone decide."""
    return [
        s3.BucketPublicAccessBlock(
            name,
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            region=args.region,
            opts=inside,
        ),
        s3.BucketOwnershipControls(
            name,
            bucket=bucket.bucket,
            rule=s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            region=args.region,
            opts=inside,
        ),
    ]


def _kept(
    name: str, bucket: s3.Bucket, args: PrivateBucketArgs, inside: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """How objects lie there, and for how long; what has to be so before the first one."""
    versioning = s3.BucketVersioning(
        name,
        bucket=bucket.bucket,
        versioning_configuration=s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
        region=args.region,
        opts=inside,
    )
    encryption = s3.BucketServerSideEncryptionConfiguration(
        name, bucket=bucket.bucket, rules=[_encryption(args.key)], region=args.region, opts=inside
    )
    # AWS's provider waits for a minute until this is everywhere: nothing waits for it in turn.
    s3.BucketLifecycleConfiguration(
        name,
        bucket=bucket.bucket,
        rules=[lifecycle_rule(args.keeping)],
        region=args.region,
        # Former versions can be expired where there are versions.
        opts=pulumi.ResourceOptions.merge(inside, pulumi.ResourceOptions(depends_on=[versioning])),
    )
    return [versioning, encryption]


def _encryption(
    key: pulumi.Input[str] | None,
) -> s3.BucketServerSideEncryptionConfigurationRuleArgs:
    """With a bucket key S3 asks KMS once for many objects, not for each: a hundredth of the price.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html"""
    by_default = (
        s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs
    )
    return s3.BucketServerSideEncryptionConfigurationRuleArgs(
        apply_server_side_encryption_by_default=(
            by_default(sse_algorithm="AES256")
            if key is None
            else by_default(sse_algorithm="aws:kms", kms_master_key_id=key)
        ),
        bucket_key_enabled=None if key is None else True,
    )


def _policy(known: list[Any]) -> str:
    bucket, account, key, log_source = known
    return bucket_policy(
        over_tls_alone(bucket),
        *(under_its_key_alone(bucket, key) if key is not None else []),
        *([log_delivery(bucket, log_source, account)] if log_source is not None else []),
    )
