"""The data layer of an aws stack."""

import pulumi

from berth.platforms.aws.account import AwsAccount
from berth.platforms.aws.foundation import Keys, stack_key
from berth.platforms.aws.stack_bucket import prefix_of
from berth.spec import HostingSpec
from pulumi_berth.aws.data_layer import DataLayer, DataLayerArgs, ReplicaIn


def make_data(spec: HostingSpec, account: AwsAccount, keys: Keys) -> DataLayer:
    """The stack's bucket, its log, and its copy in another region."""
    elsewhere = spec.data.replica_region
    return DataLayer(
        "data",
        DataLayerArgs(
            prefix=prefix_of(pulumi.get_stack()),
            account=account.number,
            region=account.region,
            key=keys.data.arn,
            former_days=spec.data.noncurrent_version_days,
            archive_after_days=spec.data.archive_after_days,
            log_days=spec.observability.log_days,
            replica=None if elsewhere is None else _replica(elsewhere, spec, account),
            protect=spec.protect,
        ),
        account.options(),
    )


def _replica(region: str, spec: HostingSpec, account: AwsAccount) -> ReplicaIn:
    purpose = "the copy of data that models read"
    key = stack_key(spec, account, "data-replica-key", purpose, region=region)
    return ReplicaIn(region=region, key=key.arn)
