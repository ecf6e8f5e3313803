"""The registry of an aws stack: its own, or that of the stack whose images it runs."""

from dataclasses import dataclass

import pulumi

from berth.platforms.aws.account import AwsAccount
from berth.platforms.aws.foundation import Keys
from berth.spec import HostingSpec
from pulumi_berth.aws.model_registry import ModelRegistry, ModelRegistryArgs, Reader
from pulumi_berth.aws.registry_replication import Copy, RegistryReplication, RegistryReplicationArgs


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Where images are pushed and pulled.

    Attributes:
        path: registry and path that they lie below.
        repositories: names of the stack's own; none where they are another stack's.
        ready: what has to be there before the first push.
    """

    path: str
    repositories: list[pulumi.Output[str]]
    ready: list[pulumi.Resource]


def make_registry(spec: HostingSpec, account: AwsAccount, keys: Keys) -> Registry:
    """Repositories, and their copies elsewhere. Where AWS is emulated, images lie in the registry
    that stands in for ECR."""
    source = spec.registry.source_stack
    prefix = f"berth-{source or pulumi.get_stack()}"
    owner = spec.registry.source_account or account.number
    path = spec.registry.url or f"{owner}.dkr.ecr.{account.region}.amazonaws.com/{prefix}"
    if spec.registry.replicate_to:
        RegistryReplication(
            "registry-copies",
            RegistryReplicationArgs(
                prefix=prefix,
                copies=[
                    Copy(region=copy.region, account=copy.account or account.number)
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
            prefix=prefix,
            repositories=_names(spec),
            key=keys.images.arn,
            keep_images=spec.registry.keep_images,
            keep_untagged_days=spec.registry.keep_untagged_days,
            readers=[
                Reader(account=reader.account, roles=list(reader.roles))
                for reader in spec.registry.readers
            ],
            protect=spec.protect,
        ),
        account.options(),
    )
    return Registry(path=path, repositories=registry.names, ready=[registry])


def _names(spec: HostingSpec) -> list[str]:
    """One for each image that the stack may have."""
    gpu = any(model.compute == "gpu" for model in spec.models.values())
    return [
        "base-serving-cpu",
        *(["base-serving-cuda"] if gpu else []),
        "base-gateway",
        "gateway",
        *spec.models,
        *(f"data-{name}" for name in spec.data.datasets),
    ]
