"""The images that a hosting stack builds: bases, serving images, gateway, Valkey."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from pulumi_berth.hosted_models import HostedModelArgs
from pulumi_berth.images.base_image import HardenedBaseImage, HardenedBaseImageArgs, Runtime
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.images.context_image import ContextImage
from pulumi_berth.images.copied_image import CopiedImage
from pulumi_berth.images.gateway_image import GatewayImage, GatewayImageArgs
from pulumi_berth.images.serving_image import ServingImage, ServingImageArgs
from pulumi_berth.images.valkey_image import ValkeyImage, ValkeyImageArgs
from pulumi_berth.own_container import OwnContainerArgs


@dataclass(frozen=True, kw_only=True)
class HostingImages:
    """Images that a hosting stack runs.

    Attributes:
        serving: Serving image of each (model, version).
        gateway: Image of the gateway.
        valkey: Image of the server that keeps limits. None if the stack uses an existing server.
        reports: Report about the content of each image that is built, by logical name.
    """

    serving: Mapping[tuple[str, str], pulumi.Input[str]]
    gateway: pulumi.Input[str]
    valkey: pulumi.Input[str] | None
    reports: Mapping[str, pulumi.Output[Any]]


def create_images(
    models: Mapping[str, HostedModelArgs],
    settings: ImageSettings,
    *,
    base: str | None = None,
    base_gpu: str | None = None,
    gateway: pulumi.Input[str] | None = None,
    valkey: pulumi.Input[str] | None = None,
    has_own_valkey: bool,
    engine: str | None = None,
    opts: pulumi.ResourceOptions | None = None,
    prefix: str = "",
) -> HostingImages:
    """Declare the images that are not given.

    Args:
        base: Base image of CPU berths and of the gateway. Defaults to Berth's recipe.
        base_gpu: Base image of GPU berths. Defaults to Berth's recipe.
        gateway: Image of the gateway, if it is given.
        valkey: Image of the server that keeps limits, if it is given.
        has_own_valkey: Whether the stack runs such a server.
        engine: Address of the engine that builds contexts. Defaults to that of the command
            `docker`.
        prefix: Prefix of the logical resource names.
    """
    serving: dict[tuple[str, str], pulumi.Input[str]] = {}
    reports: dict[str, pulumi.Output[Any]] = {}
    bases: dict[str, pulumi.Output[str]] = {}
    to_build = [
        (name, version, entry.directory, "gpu" if _uses_gpus(model) else "cpu")
        for name, model in models.items()
        for version, entry in model.versions.items()
        if entry.image is None and entry.directory is not None
    ]
    for compute in sorted({compute for *_, compute in to_build}):
        base_image = HardenedBaseImage(
            f"{prefix}base-{compute}",
            HardenedBaseImageArgs(
                runtime=Runtime.SERVING_CUDA if compute == "gpu" else Runtime.SERVING_CPU,
                settings=settings,
                base=base_gpu if compute == "gpu" else base,
            ),
            opts,
        )
        bases[compute], reports[f"base-{compute}"] = base_image.reference, base_image.report
    for name, version, directory, compute in to_build:
        image = ServingImage(
            f"{prefix}{name}-{version}",
            ServingImageArgs(
                model=name,
                version=version,
                model_dir=directory,
                base=bases[compute],
                settings=settings,
            ),
            opts,
        )
        serving[name, version], reports[f"{name}-{version}"] = image.reference, image.report
    for name, model in models.items():
        for version, entry in model.versions.items():
            if entry.image is not None:
                serving[name, version] = entry.image
            if entry.container is not None:
                own = _declare_own_image(
                    f"{prefix}{name}-{version}", name, entry.container, settings, engine, opts
                )
                serving[name, version] = own.reference
                reports[f"{name}-{version}"] = own.report
    if gateway is None:
        gateway_image = GatewayImage(
            f"{prefix}gateway", GatewayImageArgs(settings=settings, base=base), opts
        )
        gateway, reports["gateway"] = gateway_image.reference, gateway_image.report
    if valkey is None and has_own_valkey:
        valkey_image = ValkeyImage(f"{prefix}valkey", ValkeyImageArgs(settings=settings), opts)
        valkey, reports["valkey"] = valkey_image.reference, valkey_image.report
    return HostingImages(serving=serving, gateway=gateway, valkey=valkey, reports=reports)


def _declare_own_image(
    resource: str,
    repository: str,
    container: OwnContainerArgs,
    settings: ImageSettings,
    engine: str | None,
    opts: pulumi.ResourceOptions | None,
) -> CopiedImage | ContextImage:
    """Declare the checked image of a container in the stack's registry."""
    if container.context is not None:
        return ContextImage(
            resource,
            settings=settings,
            repository=repository,
            directory=container.context,
            engine=engine,
            opts=opts,
        )
    assert container.image is not None, "check_models requires one of both"
    return CopiedImage(
        resource,
        settings=settings,
        repository=repository,
        source=container.image,
        is_checked=True,
        opts=opts,
    )


def _uses_gpus(model: HostedModelArgs) -> bool:
    return bool(model.resources and model.resources.gpus)
