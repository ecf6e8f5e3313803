"""The images of a stack in a cluster: one per model version, the gateway's, and Valkey's."""

from pathlib import Path
from typing import Any

import pulumi

from berth.platforms.kubernetes.datasets import create_dataset_mounts
from berth.platforms.kubernetes.hosting import HostingImages
from berth.spec import HostingSpec, version_directory
from berth_protocol.model_card import digest
from pulumi_berth.images.base_image import HardenedBaseImage, HardenedBaseImageArgs, Runtime
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.images.gateway_image import GatewayImage, GatewayImageArgs
from pulumi_berth.images.serving_image import ServingImage, ServingImageArgs
from pulumi_berth.images.valkey_image import ValkeyImage, ValkeyImageArgs


def build_images(
    spec: HostingSpec,
    settings: ImageSettings,
    root: Path,
    opts: pulumi.ResourceOptions | None = None,
    *,
    default_bucket: str | None = None,
) -> tuple[HostingImages, dict[str, Any]]:
    """Declare the images of the stack. Return them, and a report about each image's content.

    Args:
        default_bucket: Bucket of the datasets that have no `source`.
    """
    required_bases = {
        model.compute
        for model in spec.models.values()
        if any(version.image is None for version in model.versions.values())
    }
    bases = {
        compute: HardenedBaseImage(
            f"base-{compute}",
            HardenedBaseImageArgs(
                runtime=Runtime.SERVING_CUDA if compute == "gpu" else Runtime.SERVING_CPU,
                settings=settings,
                base=spec.images.base_gpu if compute == "gpu" else spec.images.base,
            ),
            opts,
        )
        for compute in sorted(required_bases)
    }
    serving: dict[tuple[str, str], pulumi.Input[str]] = {}
    reports: dict[str, Any] = {f"base-{compute}": base.report for compute, base in bases.items()}
    for model, model_spec in spec.models.items():
        for version, entry in model_spec.versions.items():
            if entry.image is not None:
                serving[model, version] = f"{settings.registry}/{model}@{entry.image}"
                continue
            model_dir = version_directory(root, model, version, entry.path)
            serving_image = ServingImage(
                f"{model}-{version}",
                ServingImageArgs(
                    model=model,
                    version=version,
                    model_dir=str(model_dir),
                    digest=digest(model_dir),
                    base=bases[model_spec.compute].reference,
                    settings=settings,
                ),
                opts,
            )
            serving[model, version] = serving_image.reference
            reports[f"{model}-{version}"] = serving_image.report
    gateway = GatewayImage(
        "gateway", GatewayImageArgs(settings=settings, base=spec.images.base), opts
    )
    reports["gateway"] = gateway.report
    valkey = None
    if spec.gateway.limits.valkey_url is None:
        image = ValkeyImage("valkey", ValkeyImageArgs(settings=settings), opts)
        valkey, reports["valkey"] = image.reference, image.report
    images = HostingImages(
        serving=serving,
        gateway=gateway.reference,
        valkey=valkey,
        dataset_mounts=create_dataset_mounts(spec, settings, default_bucket),
    )
    return images, reports
