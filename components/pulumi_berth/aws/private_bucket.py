"""PrivateBucket: a private, versioned, encrypted S3 bucket."""

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import s3

from pulumi_berth.aws.bucket_plan import (
    allow_log_delivery,
    build_bucket_policy,
    require_kms_key,
    require_tls,
)
from pulumi_berth.component_args import parse_args

_MIN_ARCHIVE_DAYS = 30
# S3 bills the parts of an unfinished upload but does not list them.
_UPLOAD_DAYS = 7


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How long a bucket keeps objects.

    Attributes:
        noncurrent_version_days: Days to keep overwritten and deleted objects for recovery.
        archive_after_days: Age in days at which an object moves to STANDARD_IA, at least 30. If
            None, objects do not move. Objects smaller than 128 KB never move: STANDARD_IA would
            cost more.
            https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-transition-general-considerations.html
        expire_after_days: Age in days at which an object is deleted. If None, objects do not
            expire.
    """

    noncurrent_version_days: int
    archive_after_days: int | None = None
    expire_after_days: int | None = None

    def __post_init__(self) -> None:
        days = self.archive_after_days
        if days is not None and days < _MIN_ARCHIVE_DAYS:
            raise ValueError(
                f"archive_after_days is {days}; S3 requires at least {_MIN_ARCHIVE_DAYS}"
            )


@dataclass(frozen=True, kw_only=True)
class PrivateBucketArgs:
    """Arguments for `PrivateBucket`.

    Attributes:
        bucket_name: Name of the bucket, at most 63 characters
            (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html). Readers
            and writers need it before the bucket exists.
        account: Account ID.
        region: Region of the bucket.
        retention: How long the bucket keeps objects.
        key: ARN of the KMS key that encrypts objects, in the same Region. Defaults to the key that
            S3 manages.
        log_source: ARN of a bucket whose access log S3 delivers to this bucket. Defaults to none.
        protect: Prevent Pulumi from deleting the bucket, and AWS from deleting it with objects.
    """

    bucket_name: pulumi.Input[str]
    account: pulumi.Input[str]
    region: str
    retention: Retention
    key: pulumi.Input[str] | None = None
    log_source: pulumi.Input[str] | None = None
    protect: bool | None = False


class PrivateBucket(pulumi.ComponentResource):
    """A bucket that only its account can reach, and only over TLS. It encrypts and versions
    every object.

    Attributes:
        name: Name of the bucket. Known after the bucket is private, versioned and encrypted.
        arn: ARN of the bucket. Known at the same time.
    """

    name: pulumi.Output[str]
    arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: PrivateBucketArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:PrivateBucket", name, None, opts)
        args = parse_args(PrivateBucketArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        bucket = s3.Bucket(
            name,
            bucket=args.bucket_name,
            force_destroy=not args.protect,
            region=args.region,
            opts=pulumi.ResourceOptions.merge(
                child_opts, pulumi.ResourceOptions(protect=args.protect)
            ),
        )
        settings = [
            *_block_access(name, bucket, args, child_opts),
            *_protect_objects(name, bucket, args, child_opts),
        ]
        policy = s3.BucketPolicy(
            name,
            bucket=bucket.bucket,
            policy=pulumi.Output.all(bucket.arn, args.account, args.key, args.log_source).apply(
                _policy
            ),
            region=args.region,
            # S3 rejects a policy change while the public access block changes.
            opts=pulumi.ResourceOptions.merge(
                child_opts, pulumi.ResourceOptions(depends_on=settings)
            ),
        )
        # Both outputs depend on the policy, so that users of the bucket come after it.
        self.name = policy.bucket
        self.arn = pulumi.Output.all(bucket.arn, policy.id).apply(lambda values: str(values[0]))
        self.register_outputs({"name": self.name, "arn": self.arn})


def _block_access(
    name: str, bucket: s3.Bucket, args: PrivateBucketArgs, child_opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """Block public access, and disable access control lists so that only policies decide."""
    return [
        s3.BucketPublicAccessBlock(
            name,
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            region=args.region,
            opts=child_opts,
        ),
        s3.BucketOwnershipControls(
            name,
            bucket=bucket.bucket,
            rule=s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            region=args.region,
            opts=child_opts,
        ),
    ]


def _protect_objects(
    name: str, bucket: s3.Bucket, args: PrivateBucketArgs, child_opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """Configure objects. Return the settings that must exist before the first object."""
    versioning = s3.BucketVersioning(
        name,
        bucket=bucket.bucket,
        versioning_configuration=s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
        region=args.region,
        opts=child_opts,
    )
    encryption = s3.BucketServerSideEncryptionConfiguration(
        name,
        bucket=bucket.bucket,
        rules=[_encryption_rule(args.key)],
        region=args.region,
        opts=child_opts,
    )
    # The AWS provider waits a minute until S3 has distributed the lifecycle configuration.
    # Therefore no other resource depends on it.
    s3.BucketLifecycleConfiguration(
        name,
        bucket=bucket.bucket,
        rules=[lifecycle_rule(args.retention)],
        region=args.region,
        # Noncurrent versions exist only in a versioned bucket.
        opts=pulumi.ResourceOptions.merge(
            child_opts, pulumi.ResourceOptions(depends_on=[versioning])
        ),
    )
    return [versioning, encryption]


def _encryption_rule(
    key: pulumi.Input[str] | None,
) -> s3.BucketServerSideEncryptionConfigurationRuleArgs:
    """Return the default encryption.

    With a bucket key, S3 calls KMS once for many objects, which costs about a hundredth.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html
    """
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


def _policy(values: list[Any]) -> str:
    bucket, account, key, log_source = values
    return build_bucket_policy(
        require_tls(bucket),
        *(require_kms_key(bucket, key) if key is not None else []),
        *([allow_log_delivery(bucket, log_source, account)] if log_source is not None else []),
    )


def lifecycle_rule(retention: Retention) -> s3.BucketLifecycleConfigurationRuleArgs:
    """Return the only lifecycle rule of a bucket."""
    return s3.BucketLifecycleConfigurationRuleArgs(
        id="keeping",
        status="Enabled",
        filter=s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
        abort_incomplete_multipart_upload=(
            s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                days_after_initiation=_UPLOAD_DAYS
            )
        ),
        noncurrent_version_expiration=(
            s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                noncurrent_days=retention.noncurrent_version_days
            )
        ),
        expiration=_expiration(retention.expire_after_days),
        transitions=[
            s3.BucketLifecycleConfigurationRuleTransitionArgs(
                days=retention.archive_after_days, storage_class="STANDARD_IA"
            )
        ]
        if retention.archive_after_days is not None
        else None,
    )


def _expiration(days: int | None) -> s3.BucketLifecycleConfigurationRuleExpirationArgs:
    """Return when objects expire.

    With a number of days, S3 also removes delete markers without remaining versions. Without one,
    S3 does so only if the rule requests it.
    """
    if days is None:
        return s3.BucketLifecycleConfigurationRuleExpirationArgs(expired_object_delete_marker=True)
    return s3.BucketLifecycleConfigurationRuleExpirationArgs(days=days)
