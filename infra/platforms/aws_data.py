"""The data layer of an aws stack."""

import pulumi

from components.aws.data_layer import DataLayer, DataLayerArgs, ReplicaIn
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from infra.platforms.aws_account import AwsAccount
from infra.platforms.aws_foundation import Keys
from infra.platforms.own_bucket import prefix_of
from infra.spec import HostingSpec


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
            former_days=spec.data.former_days,
            archive_after_days=spec.data.archive_after_days,
            log_days=spec.observability.log_days,
            replica=None
            if elsewhere is None
            else ReplicaIn(region=elsewhere, key=_key_in(elsewhere, spec, account).arn),
            protect=spec.protect,
        ),
        account.options(),
    )


def _key_in(region: str, spec: HostingSpec, account: AwsAccount) -> EncryptionKey:
    return EncryptionKey(
        "data-replica-key",
        EncryptionKeyArgs(
            purpose=f"Berth {pulumi.get_stack()}: the copy of data that models read",
            account=account.number,
            rotation_days=spec.encryption.rotation_days,
            deletion_window_days=spec.encryption.deletion_window_days,
            protect=spec.protect,
            region=region,
        ),
        account.options(),
    )
