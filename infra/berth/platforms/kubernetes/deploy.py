"""The kubernetes platform: the same images and berths on any cluster."""

from pathlib import Path
from typing import Any

import pulumi
from pulumi_kubernetes import Provider

from berth.platforms.endpoint import endpoint
from berth.platforms.keys import client_keys
from berth.platforms.kubernetes.berth_args import image_settings
from berth.platforms.kubernetes.cluster import access_of, require_cluster
from berth.platforms.kubernetes.hosting import host, models_output
from berth.platforms.kubernetes.images import build_images
from berth.platforms.kubernetes.sites import deploy_site
from berth.spec import HostingSpec


def deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    """Images -> everything on the cluster."""
    access = access_of(spec.kubernetes.kubeconfig, spec.kubernetes.context, root)
    facts = require_cluster(access)
    provider = Provider("cluster", kubeconfig=access.kubeconfig, context=access.context)
    assert spec.registry.url is not None  # a rule of the specification for this platform
    images, reports = build_images(spec, image_settings(spec, spec.registry.url), root)
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
        "models": models_output(spec, hosted, root),
        **({"sites": sites} if sites else {}),
    }
