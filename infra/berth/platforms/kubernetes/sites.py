"""Edge sites: further clusters of a stack that run some of its models, from the same images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
from pulumi_kubernetes import Provider

from berth.platforms.endpoint import endpoint
from berth.platforms.kubernetes.cluster import access_of, api_host, require_cluster
from berth.platforms.kubernetes.hosting import Images, host
from berth.platforms.stack_context import SkippedPart
from berth.spec import HostingSpec, SiteSpec, SpecError

_TYPE = "berth:edge:Site"


def site_spec(spec: HostingSpec, site: SiteSpec) -> HostingSpec:
    """What a site runs: its models, in its namespace, with the stack's limits and clients."""
    return spec.model_copy(
        update={
            "models": {name: spec.models[name] for name in site.models},
            "kubernetes": spec.kubernetes.model_copy(update={"namespace": site.namespace}),
        }
    )


def unreachable(spec: HostingSpec, root: Path) -> list[SkippedPart]:
    """The sites that do not answer, or lack something."""
    found = []
    for name, site in spec.edge.sites.items():
        try:
            require_cluster(access_of(site.kubeconfig, site.context, root), f"edge.sites.{name}")
        except SpecError as error:
            urns = f"**{_TYPE}$**::{name}-*"
            found.append(SkippedPart(name=f"site {name}", reason=str(error), urns=urns))
    return found


def deploy_site(
    name: str,
    spec: HostingSpec,
    *,
    stack: str,
    images: Images,
    keys: Mapping[str, pulumi.Output[str]],
    root: Path,
) -> dict[str, Any]:
    """Everything of one site, below one component; the site's part of the outputs."""
    site = spec.edge.sites[name]
    access = access_of(site.kubeconfig, site.context, root)
    provider = Provider(f"{name}-cluster", kubeconfig=access.kubeconfig, context=access.context)
    parent = pulumi.ComponentResource(_TYPE, name, None, pulumi.ResourceOptions())
    hosted = host(
        site_spec(spec, site),
        stack=stack,
        namespace=site.namespace,
        images=images,
        keys=keys,
        root=root,
        # Asking a site that does not answer would stop the whole stack.
        pod_metrics=False,
        opts=pulumi.ResourceOptions(parent=parent, provider=provider),
        prefix=f"{name}-",
    )
    parent.register_outputs({})
    return {
        "endpoint": endpoint(spec, api_host(access), hosted.controller),
        "namespace": site.namespace,
        "models": list(site.models),
    }
