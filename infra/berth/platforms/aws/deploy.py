"""The aws platform: EKS and everything around it; in the cluster the same as on any other."""

import json
from pathlib import Path
from typing import Any

import pulumi
from pulumi_kubernetes import Provider

from berth.platforms.aws.account import AwsAccount, account_of
from berth.platforms.aws.data import make_data
from berth.platforms.aws.eks import kubeconfig
from berth.platforms.aws.foundation import (
    Nodes,
    autoscaler_role,
    make_keys,
    make_network,
    make_nodes,
)
from berth.platforms.aws.observability import watch
from berth.platforms.aws.public_api import make_api, make_balancer, make_edge
from berth.platforms.aws.regions import (
    other_regions,
    said_to_regions,
    secret_of_edge,
    shared_host,
)
from berth.platforms.aws.registry import make_registry
from berth.platforms.aws.stack_bucket import bucket_of_sets
from berth.platforms.keys import client_keys
from berth.platforms.kubernetes.berth_args import build_image_settings
from berth.platforms.kubernetes.cluster import CRD_SOURCES, get_api_host, get_cluster_access
from berth.platforms.kubernetes.endpoint import build_endpoint
from berth.platforms.kubernetes.hosting import Hosting, build_models_output, declare_hosting
from berth.platforms.kubernetes.images import build_images
from berth.platforms.kubernetes.sites import deploy_site
from berth.spec import HostingSpec
from pulumi_berth.api_key import ApiKey
from pulumi_berth.aws.cluster import Cluster
from pulumi_berth.kubernetes.cluster_autoscaler import ClusterAutoscaler, ClusterAutoscalerArgs
from pulumi_berth.kubernetes.gateway_crds import GatewayCrds, GatewayCrdsArgs

# The port of every node that leads to the in-cluster gateway, unless the specification says.
_NODE_PORT = 30080


def deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    """Keys -> network -> cluster and nodes -> data and images -> what every cluster runs -> the
    way in -> sites."""
    account = account_of(spec, stack)
    keys = make_keys(spec, account)
    network = make_network(spec, account, keys)
    nodes = make_nodes(spec, account, keys, network)
    cluster = _cluster_provider(spec, account, nodes, root)

    data = make_data(spec, account, keys)
    registry = make_registry(spec, account, keys)
    images, reports = build_images(
        spec,
        build_image_settings(spec, registry.path),
        root,
        pulumi.ResourceOptions(depends_on=registry.ready),
        default_bucket=bucket_of_sets(spec, stack, account.number, account.region),
    )
    client = client_keys(spec.gateway.clients)
    hosted = declare_hosting(
        _through_nodes(spec),
        stack=stack,
        namespace=spec.kubernetes.namespace,
        images=images,
        keys=client,
        root=root,
        has_pod_metrics=False,
        opts=pulumi.ResourceOptions(provider=cluster),
    )
    ClusterAutoscaler(
        "autoscaler",
        ClusterAutoscalerArgs(
            namespace=hosted.namespace.name,
            cluster_name=nodes.cluster.cluster_name,
            region=account.region,
            image=spec.cluster.autoscaler_image or _autoscaler_image(spec.cluster.version),
        ),
        pulumi.ResourceOptions(
            provider=cluster, depends_on=[autoscaler_role(spec, account, nodes)]
        ),
    )
    balancer = make_balancer(spec, account, network, nodes, _node_port(spec))
    others = other_regions(spec)
    # The underscore keeps it apart from clients, whose names have none.
    own = None if spec.edge.cdn is None else ApiKey("edge_secret", client="edge").key
    secret = secret_of_edge(spec, others) if own is None else own
    shared = shared_host(spec, account, balancer)
    api = make_api(spec, account, keys, balancer, client, secret, shared)
    url = api.url if own is None else make_edge(spec, account, keys, api, own).url
    watch(spec, account, keys, nodes, balancer, api, repositories=registry.repositories)
    sites = {
        name: deploy_site(name, spec, stack=stack, images=images, keys=client, root=root)
        for name in spec.edge.sites
    }
    return {
        "endpoint": _endpoint(spec, hosted, url, root),
        "public_url": url,
        "namespace": hosted.namespace.name,
        "api_keys": pulumi.Output.secret(client),
        "images": reports,
        "data_bucket": data.bucket_name,
        "models": build_models_output(spec, hosted, root),
        **({"sites": sites} if sites else {}),
        **said_to_regions(spec, account, others, secret),
    }


def _cluster_provider(spec: HostingSpec, account: AwsAccount, nodes: Nodes, root: Path) -> Provider:
    """The way to the cluster's API, once there are nodes for pods."""
    ready = pulumi.ResourceOptions(depends_on=nodes.ready)
    if spec.kubernetes.kubeconfig is not None:
        access = get_cluster_access(spec.kubernetes.kubeconfig, spec.kubernetes.context, root)
        return Provider(
            "kubernetes", kubeconfig=access.kubeconfig, context=access.context, opts=ready
        )
    content = _kubeconfig(nodes.cluster, account)
    # What the stack's own cluster does not have yet, and everything else waits for.
    definitions = GatewayCrds(
        "definitions",
        GatewayCrdsArgs(sources=CRD_SOURCES),
        pulumi.ResourceOptions(provider=Provider("definitions", kubeconfig=content, opts=ready)),
    )
    return Provider(
        "kubernetes",
        kubeconfig=content,
        opts=pulumi.ResourceOptions(depends_on=[*nodes.ready, definitions]),
    )


def _kubeconfig(cluster: Cluster, account: AwsAccount) -> pulumi.Output[str]:
    return pulumi.Output.all(
        name=cluster.cluster_name,
        endpoint=cluster.endpoint,
        authority=cluster.certificate_authority,
    ).apply(lambda known: json.dumps(kubeconfig(region=account.region, **known)))


def _endpoint(
    spec: HostingSpec, hosted: Hosting, public: pulumi.Output[str], root: Path
) -> pulumi.Output[str]:
    """Where clients reach the gateway; where AWS is emulated nothing answers but the cluster."""
    if spec.kubernetes.kubeconfig is not None:
        access = get_cluster_access(spec.kubernetes.kubeconfig, spec.kubernetes.context, root)
        return build_endpoint(spec, get_api_host(access), hosted.traefik)
    return public


def _through_nodes(spec: HostingSpec) -> HostingSpec:
    """The gateway is reached through a port of every node, known beforehand."""
    known = spec.kubernetes.service.model_copy(update={"node_port": _node_port(spec)})
    return spec.model_copy(
        update={"kubernetes": spec.kubernetes.model_copy(update={"service": known})}
    )


def _node_port(spec: HostingSpec) -> int:
    return spec.kubernetes.service.node_port or _NODE_PORT


def _autoscaler_image(version: str) -> str:
    return f"registry.k8s.io/autoscaling/cluster-autoscaler:v{version}.0"
