"""Deploy a stack to a Kubernetes cluster."""

from pathlib import Path
from typing import Any

import pulumi
from pulumi_kubernetes import Provider

from berth.platforms.keys import client_keys
from berth.platforms.kubernetes.berth_args import build_image_settings
from berth.platforms.kubernetes.cluster import (
    get_cluster_access,
    require_cluster,
)
from berth.platforms.kubernetes.endpoint import build_endpoint
from berth.platforms.kubernetes.hosting import build_models_output, declare_hosting
from berth.platforms.kubernetes.images import build_images
from berth.platforms.kubernetes.sites import deploy_site
from berth.spec import HostingSpec


def deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    """Declare the images and everything on the cluster. Return the stack's outputs."""
    access = get_cluster_access(spec.kubernetes.kubeconfig, spec.kubernetes.context, root)
    facts = require_cluster(access)
    provider = Provider("cluster", kubeconfig=access.kubeconfig, context=access.context)
    assert spec.registry.url is not None  # The specification's rules require it here.
    images, reports = build_images(spec, build_image_settings(spec, spec.registry.url), root)
    keys = client_keys(spec.gateway.clients)
    hosting = declare_hosting(
        spec,
        stack=stack,
        namespace=spec.kubernetes.namespace,
        images=images,
        keys=keys,
        root=root,
        has_pod_metrics=facts.has_pod_metrics,
        opts=pulumi.ResourceOptions(provider=provider),
    )
    sites = {
        name: deploy_site(name, spec, stack=stack, images=images, keys=keys, root=root)
        for name in spec.edge.sites
    }
    return {
        "endpoint": build_endpoint(spec, facts.host, hosting.traefik),
        "namespace": hosting.namespace.name,
        "api_keys": pulumi.Output.secret(keys),
        "images": reports,
        "models": build_models_output(spec, hosting, root),
        **({"sites": sites} if sites else {}),
    }
