"""The kubernetes platform: the same images and berths on any cluster."""

from pathlib import Path
from typing import Any

import pulumi
from pulumi_kubernetes import Provider

from components.base_image import HardenedBaseImage, HardenedBaseImageArgs
from components.berth_plan import berth_name
from components.gateway_image import GatewayImage, GatewayImageArgs
from components.serving_image import ServingImage, ServingImageArgs
from infra.model_store import version_directory
from infra.platforms.berth_arguments import image_settings
from infra.platforms.cluster import ClusterFacts, access_of, require_cluster
from infra.platforms.data_sets import data_mounts
from infra.platforms.endpoint import endpoint
from infra.platforms.hosting import Hosted, Images, host
from infra.platforms.keys import client_keys
from infra.platforms.sites import deploy_site
from infra.spec import HostingSpec
from serving_app.card import digest


def require_target(spec: HostingSpec, root: Path) -> ClusterFacts:
    """Hold the cluster against what is needed of it.

    Raises:
        SpecError: it cannot be reached, or lacks something.
    """
    return require_cluster(access_of(spec.kubernetes.kubeconfig, spec.kubernetes.context, root))


def deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    """Images -> everything on the cluster."""
    access = access_of(spec.kubernetes.kubeconfig, spec.kubernetes.context, root)
    facts = require_target(spec, root)
    provider = Provider("cluster", kubeconfig=access.kubeconfig, context=access.context)
    images, reports = build_images(spec, root)
    keys = client_keys(spec.gateway.clients)
    hosted = host(
        spec,
        stack=stack,
        namespace=spec.kubernetes.namespace,
        images=images,
        keys=keys,
        root=root,
        pod_metrics=facts.pod_metrics,
        opts=pulumi.ResourceOptions(provider=provider),
    )
    sites = {
        name: deploy_site(name, spec, stack=stack, images=images, keys=keys, root=root)
        for name in spec.edge.sites
    }
    return {
        "endpoint": endpoint(spec, facts.host, hosted.controller),
        "namespace": hosted.namespace.name,
        "api_keys": pulumi.Output.secret(keys),
        "images": reports,
        "models": _models(spec, hosted, root),
        **({"sites": sites} if sites else {}),
    }


def build_images(spec: HostingSpec, root: Path) -> tuple[Images, dict[str, Any]]:
    """The images of the stack, and what is inside each."""
    settings = image_settings(spec)
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
            )
            serving[model, version] = image.reference
            reports[f"{model}-{version}"] = image.report
    gateway = GatewayImage("gateway", GatewayImageArgs(settings=settings, base=spec.images.base))
    reports["gateway"] = gateway.report
    data = data_mounts(spec, settings)
    return Images(serving=serving, gateway=gateway.reference, data=data), reports


# Nothing here waits for a berth to be ready: an update that fails because one is not has its
# outputs then, and the stack, which goes on serving, can be looked at and asked.
def _models(spec: HostingSpec, hosted: Hosted, root: Path) -> dict[str, Any]:
    return {
        model: {
            "versions": {
                version: {
                    "digest": digest(version_directory(root, model, version, entry.path)),
                    "image": hosted.berths[model, version].image,
                    "service": berth_name(model, version),
                    "traffic": model_spec.traffic.get(version, 0),
                    "exposed": version in model_spec.exposed_versions,
                }
                for version, entry in model_spec.versions.items()
            },
            "shadow": model_spec.shadow,
        }
        for model, model_spec in spec.models.items()
    }
