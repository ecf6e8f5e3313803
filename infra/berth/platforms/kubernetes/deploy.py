"""Deploy a stack to a Kubernetes cluster."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from pulumi_kubernetes import Provider

from berth.platforms.hosted_models import build_clients
from berth.platforms.image_settings import build_image_settings
from berth.platforms.kubernetes.cluster import (
    ClusterAccess,
    find_required_groups,
    get_cluster_access,
    require_cluster,
)
from berth.platforms.kubernetes.datasets import create_dataset_mounts
from berth.platforms.kubernetes.endpoint import build_endpoint
from berth.platforms.kubernetes.hosting import (
    build_hosted_models,
    build_hosting_args,
    build_models_output,
)
from berth.platforms.kubernetes.parent_gateway import (
    build_parent_gateway,
    require_parent_gateway,
)
from berth.platforms.kubernetes.sites import deploy_site
from berth.spec import HostingSpec
from pulumi_berth.api_key import (
    ClientKeys,
    create_client_keys,
    describe_keys,
    select_newest_keys,
)
from pulumi_berth.images.hosting_images import HostingImages, create_images
from pulumi_berth.kubernetes.hosting import KubernetesHostingParts, declare_hosting


@dataclass(frozen=True, kw_only=True)
class ClusterStack:
    """What a stack consists of in its cluster and in its edge sites.

    Attributes:
        hosting: Parts of the stack's own cluster.
        images: Images that the cluster and the sites run.
        keys: API keys of each client, by name.
        sites: Stack output about each site.
    """

    hosting: KubernetesHostingParts
    images: HostingImages
    keys: ClientKeys
    sites: dict[str, Any]


def deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    """Declare the images and everything on the cluster. Return the stack's outputs."""
    access = get_cluster_access(spec.kubernetes.kubeconfig, spec.kubernetes.context, root)
    facts = require_cluster(access, groups=find_required_groups(spec))
    url = require_parent_gateway(access, spec)
    provider = Provider("cluster", kubeconfig=access.kubeconfig, context=access.context)
    assert spec.registry.url is not None  # The specification's rules require it here.
    parts = declare_cluster_stack(
        spec,
        stack=stack,
        root=root,
        registry=spec.registry.url,
        has_pod_metrics=facts.has_pod_metrics,
        has_prometheus_operator=facts.has_prometheus_operator,
        access=access,
        opts=pulumi.ResourceOptions(provider=provider),
    )
    return {
        "endpoint": url or build_endpoint(spec, facts.host, parts.hosting.traefik),
        **build_outputs(spec, parts, root),
    }


def declare_cluster_stack(
    spec: HostingSpec,
    *,
    stack: str,
    root: Path,
    registry: str,
    has_pod_metrics: bool,
    has_prometheus_operator: bool = False,
    access: ClusterAccess | None,
    opts: pulumi.ResourceOptions,
    image_opts: pulumi.ResourceOptions | None = None,
    default_bucket: str | None = None,
    pull_only: bool = False,
    controller_image: pulumi.Input[str] | None = None,
) -> ClusterStack:
    """Declare the images, the API keys, and what the cluster and the edge sites host.

    Args:
        registry: Registry and path of the images.
        has_pod_metrics: Whether the cluster serves metrics of pods to autoscalers.
        has_prometheus_operator: Whether the cluster has the Prometheus operator.
        access: Access to the cluster, to check who owns the namespace. None if there is none.
        opts: Options that contain the cluster's provider.
        image_opts: Options of the images.
        default_bucket: Bucket of the datasets that have no `source`, each below its name.
        pull_only: Use the images that another stack has pushed to the registry.
        controller_image: Image of the ingress controller instead of `kubernetes.controller_image`.
    """
    settings = build_image_settings(spec, registry, pull_only=pull_only)
    mounts = create_dataset_mounts(spec, settings, default_bucket)
    models = build_hosted_models(spec, root, registry=registry, mounts=mounts)
    images = create_images(
        models,
        settings,
        base=spec.images.base,
        base_gpu=spec.images.base_gpu,
        has_own_valkey=spec.gateway.limits.valkey_url is None,
        opts=image_opts,
    )
    keys = create_client_keys(build_clients(spec))
    args = build_hosting_args(
        spec,
        models,
        settings,
        root=root,
        namespace=spec.kubernetes.namespace,
        limits_prefix=f"berth:{stack}",
        has_pod_metrics=has_pod_metrics,
        has_prometheus_operator=has_prometheus_operator,
        controller_image=controller_image,
    )
    hosting = declare_hosting(args, access=access, images=images, keys=keys, opts=opts)
    sites = {
        name: deploy_site(name, spec, args, stack=stack, images=images, keys=keys, root=root)
        for name in spec.edge.sites
    }
    return ClusterStack(hosting=hosting, images=images, keys=keys, sites=sites)


def build_outputs(spec: HostingSpec, parts: ClusterStack, root: Path) -> dict[str, Any]:
    """Return the outputs that every stack with a cluster has."""
    clients = build_clients(spec)
    return {
        "namespace": parts.hosting.namespace.name,
        "api_keys": pulumi.Output.secret(select_newest_keys(clients, parts.keys)),
        "client_keys": pulumi.Output.secret(describe_keys(clients, parts.keys)),
        **_build_parent_output(spec),
        "images": parts.images.reports,
        "models": build_models_output(spec, parts.hosting, root),
        **({"sites": parts.sites} if parts.sites else {}),
    }


def _build_parent_output(spec: HostingSpec) -> dict[str, Any]:
    """Return the Gateway that receives the stack's requests, if it is not the stack's own."""
    parent = build_parent_gateway(spec)
    if parent is None:
        return {}
    reference = {"name": parent.name, "namespace": parent.namespace}
    section = {} if parent.section_name is None else {"section_name": parent.section_name}
    return {"parent_gateway": reference | section}
