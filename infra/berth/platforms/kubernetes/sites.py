"""Edge sites: other clusters of a stack that run some of its models from the same images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
from pulumi_kubernetes import Provider

from berth.platforms.kubernetes.cluster import get_api_host, get_cluster_access, require_cluster
from berth.platforms.kubernetes.endpoint import build_endpoint
from berth.platforms.kubernetes.hosting import HostingImages, declare_hosting
from berth.platforms.stack_context import SkippedPart
from berth.spec import HostingSpec, SiteSpec, SpecError

_TYPE = "berth:kubernetes:EdgeSite"


def build_site_spec(spec: HostingSpec, site: SiteSpec) -> HostingSpec:
    """Return the specification of a site: its models and namespace; limits and clients are kept."""
    return spec.model_copy(
        update={
            "models": {name: spec.models[name] for name in site.models},
            "kubernetes": spec.kubernetes.model_copy(update={"namespace": site.namespace}),
        }
    )


def find_unreachable_sites(spec: HostingSpec, root: Path) -> list[SkippedPart]:
    """Return the sites that do not respond or do not meet Berth's requirements."""
    skipped = []
    for name, site in spec.edge.sites.items():
        access = get_cluster_access(site.kubeconfig, site.context, root)
        try:
            require_cluster(access, f"edge.sites.{name}")
        except SpecError as error:
            urns = f"**{_TYPE}$**::{name}-*"
            skipped.append(SkippedPart(name=f"site {name}", reason=str(error), urns=urns))
    return skipped


def deploy_site(
    name: str,
    spec: HostingSpec,
    *,
    stack: str,
    images: HostingImages,
    keys: Mapping[str, pulumi.Output[str]],
    root: Path,
) -> dict[str, Any]:
    """Declare one site as children of one component. Return the stack output about the site."""
    site = spec.edge.sites[name]
    access = get_cluster_access(site.kubeconfig, site.context, root)
    provider = Provider(f"{name}-cluster", kubeconfig=access.kubeconfig, context=access.context)
    parent = pulumi.ComponentResource(_TYPE, name, None, pulumi.ResourceOptions())
    hosting = declare_hosting(
        build_site_spec(spec, site),
        stack=stack,
        namespace=site.namespace,
        images=images,
        keys=keys,
        root=root,
        # Do not query the site here: an unreachable site would stop the whole stack.
        has_pod_metrics=False,
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
