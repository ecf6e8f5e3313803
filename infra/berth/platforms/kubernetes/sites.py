"""Edge sites: other clusters of a stack that run some of its models from the same images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi
from pulumi_kubernetes import Provider

from berth.platforms.kubernetes.cluster import get_api_host, get_cluster_access, require_cluster
from berth.platforms.kubernetes.endpoint import build_endpoint
from berth.platforms.stack_context import SkippedPart
from berth.spec import HostingSpec, SpecError
from pulumi_berth.api_key import ClientKeys
from pulumi_berth.images.hosting_images import HostingImages
from pulumi_berth.kubernetes.hosting import declare_hosting
from pulumi_berth.kubernetes.hosting_args import KubernetesHostingArgs

_TYPE = "berth:kubernetes:EdgeSite"


def find_unreachable_sites(spec: HostingSpec, root: Path) -> list[SkippedPart]:
    """Return the sites that do not respond or do not meet Berth's requirements."""
    skipped = []
    for name, site in spec.edge.sites.items():
        access = get_cluster_access(site.kubeconfig, site.context, root)
        try:
            require_cluster(access, f"edge.sites.{name}")
        except SpecError as error:
            urns = f"**{_TYPE}$**::{name}-*"
            skipped.append(SkippedPart(name=f"site {name}", key=name, reason=str(error), urns=urns))
    return skipped


def deploy_site(
    name: str,
    spec: HostingSpec,
    args: KubernetesHostingArgs,
    *,
    stack: str,
    images: HostingImages,
    keys: ClientKeys,
    root: Path,
) -> dict[str, Any]:
    """Declare one site as children of one component. Return the stack output about the site.

    Args:
        args: What the stack's own cluster hosts. Limits and clients of the sites are the same.
    """
    site = spec.edge.sites[name]
    access = get_cluster_access(site.kubeconfig, site.context, root)
    provider = Provider(f"{name}-cluster", kubeconfig=access.kubeconfig, context=access.context)
    parent = pulumi.ComponentResource(_TYPE, name, None, pulumi.ResourceOptions())
    assert args.limits is not None  # `build_hosting_args` sets it.
    hosting = declare_hosting(
        replace(
            args,
            namespace=site.namespace,
            adopt_namespace=site.adopt_namespace,
            models={model: args.models[model] for model in site.models},
            limits=replace(args.limits, prefix=f"berth:{name}-{stack}"),
            # Do not query the site here: an unreachable site would stop the whole stack.
            has_pod_metrics=False,
            has_prometheus_operator=False,
            monitoring=False,
        ),
        access=access,
        images=images,
        keys=keys,
        opts=pulumi.ResourceOptions(parent=parent, provider=provider),
        prefix=f"{name}-",
    )
    outputs = {
        "endpoint": build_endpoint(spec, get_api_host(access), hosting.traefik),
        "namespace": site.namespace,
        "models": list(site.models),
    }
    parent.register_outputs(outputs)
    return outputs
