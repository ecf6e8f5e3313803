"""Storage of an aws stack: the image registry and the data bucket."""

from dataclasses import dataclass

import pulumi

from berth.platforms.aws.access import stack_prefix
from berth.platforms.aws.account import AwsAccount
from berth.platforms.aws.foundation import Keys, create_stack_key
from berth.platforms.image_settings import build_image_settings
from berth.spec import HostingSpec
from pulumi_berth.aws.data_layer import DataLayer, DataLayerArgs, ReplicaTarget
from pulumi_berth.aws.model_registry import (
    ModelRegistry,
    ModelRegistryArgs,
    RegistryReader,
    RegistryReplication,
    RegistryReplicationArgs,
    ReplicationTarget,
)
from pulumi_berth.images.copied_image import CopiedImage
from pulumi_berth.oci.ecr import find_ecr_registry

COPIED_IMAGES = ("copy-traefik", "copy-cluster-autoscaler")
"""Repositories of the images of other projects that the stack runs."""


@dataclass(frozen=True, kw_only=True)
class Registry:
    """The registry that a stack pushes images to and pulls images from.

    Attributes:
        path: Registry host and path prefix of all repositories.
        repositories: Names of the stack's own repositories. Empty if another stack owns them.
        ready: Resources that must exist before the first push.
    """

    path: str
    repositories: list[pulumi.Output[str]]
    ready: list[pulumi.Resource]


def create_registry(spec: HostingSpec, account: AwsAccount, keys: Keys) -> Registry:
    """Create the repositories and their replication.

    With `registry.source_stack` the stack runs the images of another stack and owns none. With
    `registry.url`, as for emulated AWS, images are in that registry instead of ECR.
    """
    source = spec.registry.source_stack
    prefix = stack_prefix(source or account.stack)
    owner = spec.registry.source_account or account.number
    path = spec.registry.url or f"{owner}.dkr.ecr.{account.region}.amazonaws.com/{prefix}"
    if spec.registry.replicate_to:
        RegistryReplication(
            "registry-copies",
            RegistryReplicationArgs(
                name_prefix=prefix,
                region=account.region,
                account=account.number,
                targets=[
                    ReplicationTarget(region=copy.region, account=copy.account or account.number)
                    for copy in spec.registry.replicate_to
                ],
            ),
            account.options(),
        )
    if source is not None:
        return Registry(path=path, repositories=[], ready=[])
    registry = ModelRegistry(
        "registry",
        ModelRegistryArgs(
            name_prefix=prefix,
            repositories=_repository_names(spec),
            key=keys.images.arn,
            keep_images=spec.registry.keep_images,
            keep_untagged_days=spec.registry.keep_untagged_days,
            readers=[
                RegistryReader(account=reader.account, roles=list(reader.roles))
                for reader in spec.registry.readers
            ],
            protect=spec.protect,
        ),
        account.options(),
    )
    return Registry(path=path, repositories=registry.names, ready=[registry])


def _repository_names(spec: HostingSpec) -> list[str]:
    """Return one name for each image that the stack can have. ECR creates none at a push."""
    has_gpu = any(model.compute == "gpu" for model in spec.models.values())
    has_claims = any(
        (entry.source or "").startswith("pvc:") for entry in spec.data.datasets.values()
    )
    return [
        "base-serving-cpu",
        *(["base-serving-cuda"] if has_gpu else []),
        "base-gateway",
        "gateway",
        *(["valkey"] if spec.gateway.limits.valkey_url is None else []),
        *COPIED_IMAGES,
        *spec.models,
        *(["data"] if has_claims else []),
        *(f"data-{name}" for name in spec.data.datasets),
    ]


def copy_third_party_image(
    spec: HostingSpec, registry: Registry, name: str, source: str
) -> pulumi.Input[str]:
    """Return an image that nodes pull from the stack's registry instead of its source.

    Args:
        name: One of `COPIED_IMAGES`.
        source: The image. One that is in an ECR registry is used as it is.
    """
    if find_ecr_registry(source.partition("/")[0]) is not None:
        return source
    settings = build_image_settings(
        spec, registry.path, pull_only=spec.registry.source_stack is not None
    )
    opts = pulumi.ResourceOptions(depends_on=registry.ready)
    return CopiedImage(name, settings=settings, repository=name, source=source, opts=opts).reference


def create_data_layer(spec: HostingSpec, account: AwsAccount, keys: Keys) -> DataLayer:
    """Create the stack's data bucket, its access log, and its replica in another Region."""
    replica_region = spec.data.replica_region
    return DataLayer(
        "data",
        DataLayerArgs(
            name_prefix=stack_prefix(account.stack),
            account=account.number,
            region=account.region,
            key=keys.data.arn,
            noncurrent_version_days=spec.data.noncurrent_version_days,
            archive_after_days=spec.data.archive_after_days,
            log_days=spec.observability.log_days,
            replica=None
            if replica_region is None
            else _create_replica_target(replica_region, spec, account),
            protect=spec.protect,
        ),
        account.options(),
    )


def _create_replica_target(region: str, spec: HostingSpec, account: AwsAccount) -> ReplicaTarget:
    purpose = "replica of model data"
    key = create_stack_key(spec, account, "data-replica-key", purpose, region=region)
    return ReplicaTarget(region=region, key=key.arn)
