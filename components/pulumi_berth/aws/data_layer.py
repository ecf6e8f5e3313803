"""DataLayer: the bucket that a stack keeps its models' data in."""

from dataclasses import dataclass

import pulumi
from pulumi_aws import s3

from pulumi_berth.aws.bucket_lifecycle import Keeping
from pulumi_berth.aws.bucket_name import data_bucket
from pulumi_berth.aws.data_replica import DataReplica, DataReplicaArgs
from pulumi_berth.aws.private_bucket import PrivateBucket, PrivateBucketArgs

# S3 writes a log once: a former version is one that expired, or that somebody deleted.
_DELETED_LOG_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class ReplicaIn:
    """Where a copy lies.

    Attributes:
        region: another one than the stack's.
        key: ARN of a key there.
    """

    region: str
    key: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class DataLayerArgs:
    """How data are kept.

    Attributes:
        prefix: how the names of the buckets begin, such as `berth-dev`; at most 22 characters,
            since `-data-replica` follows (see `data_bucket`).
        account: number of the account.
        region: of the stack.
        key: ARN of the key that data are encrypted with.
        former_days: that an overwritten or deleted object can be had back.
        archive_after_days: see `Keeping`.
        log_days: that the log of who reads and writes is kept.
        replica: where a copy lies; none when None.
        protect: whether the engine refuses to delete the buckets, and AWS while they have objects.
    """

    prefix: str
    account: pulumi.Input[str]
    region: str
    key: pulumi.Input[str]
    former_days: int
    archive_after_days: int | None
    log_days: int
    replica: ReplicaIn | None = None
    protect: bool = False


class DataLayer(pulumi.ComponentResource):
    """A private, versioned, encrypted bucket, the log of what is done there, and its copy.

    Attributes:
        bucket_name: of the bucket.
        bucket_arn: of the bucket.
    """

    bucket_name: pulumi.Output[str]
    bucket_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: DataLayerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:aws:DataLayer", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        keeping = Keeping(former_days=args.former_days, archive_after_days=args.archive_after_days)
        data = PrivateBucket(
            name,
            PrivateBucketArgs(
                bucket_name=_name(args, args.region),
                account=args.account,
                region=args.region,
                keeping=keeping,
                key=args.key,
                protect=args.protect,
            ),
            inside,
        )
        _log_of(name, data, args, inside)
        if args.replica is not None:
            DataReplica(
                f"{name}-replica",
                DataReplicaArgs(
                    bucket_name=_name(args, args.replica.region, "-replica"),
                    account=args.account,
                    source=data,
                    source_region=args.region,
                    source_key=args.key,
                    region=args.replica.region,
                    key=args.replica.key,
                    keeping=keeping,
                    protect=args.protect,
                ),
                inside,
            )
        self.bucket_name = data.name
        self.bucket_arn = data.arn
        self.register_outputs({"bucket_name": self.bucket_name, "bucket_arn": self.bucket_arn})


def _name(args: DataLayerArgs, region: str, part: str = "") -> pulumi.Output[str]:
    return pulumi.Output.from_input(args.account).apply(
        lambda account: data_bucket(args.prefix, account, region, part)
    )


def _log_of(
    name: str, data: PrivateBucket, args: DataLayerArgs, inside: pulumi.ResourceOptions
) -> None:
    """A bucket of its own, encrypted with S3's key: S3 delivers no access log to a bucket with a
    key of KMS.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html"""
    logs = PrivateBucket(
        f"{name}-log",
        PrivateBucketArgs(
            bucket_name=_name(args, args.region, "-log"),
            account=args.account,
            region=args.region,
            keeping=Keeping(former_days=_DELETED_LOG_DAYS, expire_after_days=args.log_days),
            log_source=data.arn,
            protect=args.protect,
        ),
        inside,
    )
    s3.BucketLogging(
        name,
        bucket=data.name,
        target_bucket=logs.name,
        target_prefix="",
        region=args.region,
        opts=inside,
    )
