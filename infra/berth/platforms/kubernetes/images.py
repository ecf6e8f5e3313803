"""The images of a stack that runs in a cluster: one per model version, and the gateway's."""

from pathlib import Path
from typing import Any

import pulumi

from berth.platforms.kubernetes.datasets import data_mounts
from berth.platforms.kubernetes.hosting import Images
from berth.spec import HostingSpec
from berth.spec.model_store import version_directory
from berth_serving.card import digest
from pulumi_berth.images.base_image import HardenedBaseImage, HardenedBaseImageArgs
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.images.gateway_image import GatewayImage, GatewayImageArgs
from pulumi_berth.images.serving_image import ServingImage, ServingImageArgs


def build_images(
    spec: HostingSpec,
    settings: ImageSettings,
    root: Path,
    opts: pulumi.ResourceOptions | None = None,
    *,
    own_bucket: str | None = None,
) -> tuple[Images, dict[str, Any]]:
    """The images of the stack, and what is inside each.

    Args:
        own_bucket: with the sets of data that name no source.
    """
    needed = {
        model.compute
        for model in spec.models.values()
        if any(version.image is None for version in model.versions.values())
    }
    bases = {
        compute: HardenedBaseImage(
            f"base-{compute}",
            HardenedBaseImageArgs(
                runtime="serving-cuda" if compute == "gpu" else "serving-cpu",
                settings=settings,
                base=spec.images.base_gpu if compute == "gpu" else spec.images.base,
            ),
            opts,
        )
        for compute in sorted(needed)
    }
    serving: dict[tuple[str, str], pulumi.Input[str]] = {}
    reports: dict[str, Any] = {f"base-{compute}": base.report for compute, base in bases.items()}
    for model, model_spec in spec.models.items():
        for version, entry in model_spec.versions.items():
            if entry.image is not None:
                serving[model, version] = f"{settings.registry}/{model}@{entry.image}"
                continue
            model_dir = version_directory(root, model, version, entry.path)
            image = ServingImage(
                f"{model}-{version}",
                ServingImageArgs(
                    model=model,
                    version=version,
                    model_dir=model_dir,
                    digest=digest(model_dir),
                    base=bases[model_spec.compute].reference,
                    settings=settings,
                ),
                opts,
            )
            serving[model, version] = image.reference
            reports[f"{model}-{version}"] = image.report
    gateway = GatewayImage(
        "gateway", GatewayImageArgs(settings=settings, base=spec.images.base), opts
    )
    reports["gateway"] = gateway.report
    data = data_mounts(spec, settings, own_bucket)
    return Images(serving=serving, gateway=gateway.reference, data=data), reports
