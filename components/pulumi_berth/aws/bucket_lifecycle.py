"""How long a bucket keeps what."""

from dataclasses import dataclass

from pulumi_aws import s3

_LEAST_BEFORE_ARCHIVE = 30
# An upload in parts that was given up is paid for, and is seen nowhere.
_UPLOAD_DAYS = 7


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """How long.

    Attributes:
        former_days: that an overwritten or deleted object can be had back.
        archive_after_days: until an object moves to STANDARD_IA, at least 30; never when None.
            What is smaller than 128 KB stays, since there it would cost more.
            https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-transition-general-considerations.html
        expire_after_days: until an object is deleted; never when None.
    """

    former_days: int
    archive_after_days: int | None = None
    expire_after_days: int | None = None

    def __post_init__(self) -> None:
        days = self.archive_after_days
        if days is not None and days < _LEAST_BEFORE_ARCHIVE:
            raise ValueError(
                f"archive_after_days: {days}; S3 takes {_LEAST_BEFORE_ARCHIVE} or more"
            )


def lifecycle_rule(keeping: Keeping) -> s3.BucketLifecycleConfigurationRuleArgs:
    """The one rule of a bucket."""
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
                noncurrent_days=keeping.former_days
            )
        ),
        expiration=_expiration(keeping.expire_after_days),
        transitions=[
            s3.BucketLifecycleConfigurationRuleTransitionArgs(
                days=keeping.archive_after_days, storage_class="STANDARD_IA"
            )
        ]
        if keeping.archive_after_days is not None
        else None,
    )


def _expiration(days: int | None) -> s3.BucketLifecycleConfigurationRuleExpirationArgs:
    """With days S3 also takes away what marks the deletion of an object that has no version left;
    without it has to be told to."""
    if days is None:
        return s3.BucketLifecycleConfigurationRuleExpirationArgs(expired_object_delete_marker=True)
    return s3.BucketLifecycleConfigurationRuleExpirationArgs(days=days)
