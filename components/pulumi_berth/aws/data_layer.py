"""DataLayer: the bucket with the data that a stack's models read."""

from dataclasses import dataclass

import pulumi
from pulumi_aws import s3

from pulumi_berth.aws.bucket_plan import data_bucket_name
from pulumi_berth.aws.data_replica import DataReplica, DataReplicaArgs
from pulumi_berth.aws.private_bucket import PrivateBucket, PrivateBucketArgs, Retention
from pulumi_berth.component_args import parse_args

# S3 writes each log object once, so a noncurrent version is an expired or deleted log.
_DELETED_LOG_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class ReplicaTarget:
    """The destination of a replica.

    Attributes:
        region: Region other than the stack's.
        key: ARN of a KMS key in that Region.
    """

    region: str
    key: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class DataLayerArgs:
    """Arguments for `DataLayer`.

    Attributes:
        name_prefix: Prefix of the buckets' names, such as `berth-dev`, at most 22 characters: the
            longest suffix is `-data-replica` (see `data_bucket_name`).
        account: Account ID.
        region: Region of the stack.
        key: ARN of the KMS key that encrypts the data.
        noncurrent_version_days: Days to keep overwritten and deleted objects for recovery.
        archive_after_days: See `Retention`.
        log_days: Days to keep the access log.
        replica: Destination of a replica. Defaults to none.
        protect: Prevent Pulumi from deleting the buckets, and AWS from deleting them with objects.
    """

    name_prefix: str
    account: pulumi.Input[str]
    region: str
    key: pulumi.Input[str]
    noncurrent_version_days: int
    archive_after_days: int | None
    log_days: int
    replica: ReplicaTarget | None = None
    protect: bool | None = False


class DataLayer(pulumi.ComponentResource):
    """A private, versioned, encrypted bucket with an access log and an optional replica.

    Attributes:
        bucket_name: Name of the bucket.
        bucket_arn: ARN of the bucket.
    """

    bucket_name: pulumi.Output[str]
    bucket_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: DataLayerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:DataLayer", name, None, opts)
        args = parse_args(DataLayerArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        retention = Retention(
            noncurrent_version_days=args.noncurrent_version_days,
            archive_after_days=args.archive_after_days,
        )
        data = PrivateBucket(
            name,
            PrivateBucketArgs(
                bucket_name=_bucket_name(args, args.region),
                account=args.account,
                region=args.region,
                retention=retention,
                key=args.key,
                protect=args.protect,
            ),
            child_opts,
        )
        _create_access_log(name, data, args, child_opts)
        if args.replica is not None:
            DataReplica(
                f"{name}-replica",
                DataReplicaArgs(
                    bucket_name=_bucket_name(args, args.replica.region, "-replica"),
                    account=args.account,
                    source_name=data.name,
                    source_arn=data.arn,
                    source_region=args.region,
                    source_key=args.key,
                    region=args.replica.region,
                    key=args.replica.key,
                    retention=retention,
                    protect=args.protect,
                ),
                child_opts,
            )
        self.bucket_name = data.name
        self.bucket_arn = data.arn
        self.register_outputs({"bucket_name": self.bucket_name, "bucket_arn": self.bucket_arn})


def _bucket_name(args: DataLayerArgs, region: str, suffix: str = "") -> pulumi.Output[str]:
    return pulumi.Output.from_input(args.account).apply(
        lambda account: data_bucket_name(args.name_prefix, account, region, suffix)
    )


def _create_access_log(
    name: str, data: PrivateBucket, args: DataLayerArgs, child_opts: pulumi.ResourceOptions
) -> None:
    """Create a separate bucket for the access log.

    It uses the key that S3 manages: S3 delivers no access log to a bucket with a KMS key.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
    """
    logs = PrivateBucket(
        f"{name}-log",
        PrivateBucketArgs(
            bucket_name=_bucket_name(args, args.region, "-log"),
            account=args.account,
            region=args.region,
            retention=Retention(
                noncurrent_version_days=_DELETED_LOG_DAYS, expire_after_days=args.log_days
            ),
            log_source=data.arn,
            protect=args.protect,
        ),
        child_opts,
    )
    s3.BucketLogging(
        name,
        bucket=data.name,
        target_bucket=logs.name,
        target_prefix="",
        region=args.region,
        opts=child_opts,
    )
