"""The aws platform: EKS and the AWS services around it. In the cluster it equals kubernetes."""

import json
from pathlib import Path
from typing import Any

import pulumi
from pulumi_kubernetes import Provider

from berth.platforms.aws.access import build_kubeconfig, dataset_bucket
from berth.platforms.aws.account import AwsAccount, look_up_account
from berth.platforms.aws.foundation import (
    Nodes,
    create_autoscaler_role,
    create_keys,
    create_network,
    create_nodes,
)
from berth.platforms.aws.observability import create_observability
from berth.platforms.aws.public_api import create_api, create_edge, create_load_balancer
from berth.platforms.aws.regions import (
    create_shared_host,
    other_regions,
    read_edge_secret,
    region_outputs,
)
from berth.platforms.aws.storage import (
    copy_third_party_image,
    create_data_layer,
    create_registry,
)
from berth.platforms.kubernetes.cluster import (
    CRD_SOURCES,
    ClusterAccess,
    get_api_host,
    get_cluster_access,
)
from berth.platforms.kubernetes.deploy import build_outputs, declare_cluster_stack
from berth.platforms.kubernetes.endpoint import build_endpoint
from berth.spec import HostingSpec
from pulumi_berth.api_key import ApiKey
from pulumi_berth.aws.cluster import Cluster
from pulumi_berth.aws_identity import AwsIdentity, read_identity, use_identity
from pulumi_berth.images.third_party import get_autoscaler_image, read_manifest
from pulumi_berth.kubernetes.cluster_autoscaler import ClusterAutoscaler, ClusterAutoscalerArgs
from pulumi_berth.kubernetes.gateway_crds import GatewayCrds, GatewayCrdsArgs
from pulumi_berth.kubernetes.hosting import KubernetesHostingParts

# Node port of the in-cluster gateway if the specification sets none.
_DEFAULT_NODE_PORT = 30080
# More invalid keys than an address can send in the longest window.
_NEVER = 1_000_000_000


def deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]:
    """Declare the stack: keys, network, nodes, data, images, cluster contents, API, sites."""
    use_identity(spec.aws)
    account = look_up_account(spec, stack)
    keys = create_keys(spec, account)
    network = create_network(spec, account, keys)
    nodes = create_nodes(spec, account, keys, network)
    cluster = _cluster_provider(spec, account, nodes, root)

    data = create_data_layer(spec, account, keys)
    registry = create_registry(spec, account, keys)
    parts = declare_cluster_stack(
        _through_nodes(spec),
        stack=stack,
        root=root,
        registry=registry.path,
        has_pod_metrics=False,
        # The cluster belongs to the stack, except where AWS is emulated.
        access=_own_access(spec, root),
        opts=pulumi.ResourceOptions(provider=cluster),
        image_opts=pulumi.ResourceOptions(depends_on=registry.ready),
        default_bucket=dataset_bucket(spec, stack, account.number, account.region),
        pull_only=spec.registry.source_stack is not None,
        controller_image=copy_third_party_image(
            spec, registry, "copy-traefik", spec.kubernetes.controller_image
        ),
    )
    ClusterAutoscaler(
        "autoscaler",
        ClusterAutoscalerArgs(
            namespace=parts.hosting.namespace.name,
            cluster_name=nodes.cluster.cluster_name,
            region=account.region,
            image=copy_third_party_image(
                spec,
                registry,
                "copy-cluster-autoscaler",
                spec.cluster.autoscaler_image or get_autoscaler_image(spec.cluster.version),
            ),
        ),
        pulumi.ResourceOptions(
            provider=cluster, depends_on=[create_autoscaler_role(spec, account, nodes)]
        ),
    )
    load_balancer = create_load_balancer(spec, account, network, nodes, _node_port(spec))
    others = other_regions(spec)
    # Client names contain no underscore, so this name cannot collide with a client.
    own = None if spec.edge.cdn is None else ApiKey("edge_secret", client="edge").key
    secret = read_edge_secret(spec, others) if own is None else own
    shared_host = create_shared_host(spec, account, load_balancer)
    api = create_api(spec, account, keys, load_balancer, parts.keys, secret, shared_host)
    url = api.url if own is None else create_edge(spec, account, keys, api, own).url
    create_observability(
        spec, account, keys, nodes, load_balancer, api, repositories=registry.repositories
    )
    return {
        "endpoint": _endpoint(spec, parts.hosting, url, root),
        "public_url": url,
        "data_bucket": data.bucket_name,
        **build_outputs(spec, parts, root),
        **region_outputs(spec, account, others, secret),
    }


def _cluster_provider(spec: HostingSpec, account: AwsAccount, nodes: Nodes, root: Path) -> Provider:
    """Return the provider for the cluster's API. It waits until the cluster has nodes for Pods."""
    ready = pulumi.ResourceOptions(depends_on=nodes.ready)
    if spec.kubernetes.kubeconfig is not None:
        access = get_cluster_access(spec.kubernetes.kubeconfig, spec.kubernetes.context, root)
        return Provider(
            "kubernetes", kubeconfig=access.kubeconfig, context=access.context, opts=ready
        )
    content = _kubeconfig(nodes.cluster, account, read_identity(spec.aws))
    # A new EKS cluster has no Gateway API definitions, and everything else in it needs them.
    definitions = GatewayCrds(
        "definitions",
        GatewayCrdsArgs(documents={name: read_manifest(name) for name in CRD_SOURCES}),
        pulumi.ResourceOptions(provider=Provider("definitions", kubeconfig=content, opts=ready)),
    )
    return Provider(
        "kubernetes",
        kubeconfig=content,
        opts=pulumi.ResourceOptions(depends_on=[*nodes.ready, definitions]),
    )


def _own_access(spec: HostingSpec, root: Path) -> ClusterAccess | None:
    if spec.kubernetes.kubeconfig is None:
        return None
    return get_cluster_access(spec.kubernetes.kubeconfig, spec.kubernetes.context, root)


def _kubeconfig(cluster: Cluster, account: AwsAccount, identity: AwsIdentity) -> pulumi.Output[str]:
    return pulumi.Output.all(
        name=cluster.cluster_name,
        endpoint=cluster.endpoint,
        authority=cluster.certificate_authority,
    ).apply(
        lambda known: json.dumps(
            build_kubeconfig(region=account.region, identity=identity, **known)
        )
    )


def _endpoint(
    spec: HostingSpec, hosted: KubernetesHostingParts, public: pulumi.Output[str], root: Path
) -> pulumi.Output[str]:
    """Return the address of the gateway. With emulated AWS only the cluster responds."""
    if spec.kubernetes.kubeconfig is not None:
        access = get_cluster_access(spec.kubernetes.kubeconfig, spec.kubernetes.context, root)
        return build_endpoint(spec, get_api_host(access), hosted.traefik)
    return public


def _through_nodes(spec: HostingSpec) -> HostingSpec:
    """Return the specification with the gateway on a fixed port of every node.

    There, all requests come from the load balancer's addresses, so the gateway must not block one
    of them for a client that sends invalid keys. API Gateway rejects such requests, and the
    firewall limits their address.
    """
    known = spec.kubernetes.service.model_copy(update={"node_port": _node_port(spec)})
    blocking = spec.gateway.blocking.model_copy(update={"invalid_keys": _NEVER})
    return spec.model_copy(
        update={
            "kubernetes": spec.kubernetes.model_copy(update={"service": known}),
            "gateway": spec.gateway.model_copy(update={"blocking": blocking}),
        }
    )


def _node_port(spec: HostingSpec) -> int:
    return spec.kubernetes.service.node_port or _DEFAULT_NODE_PORT
