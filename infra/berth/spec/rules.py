"""Rules that span sections.

Each is a function: its docstring is the rule in docs/reference/specification.md, its parameters are
named after the sections that it reads, so that sound sections can be held against it while others
are not.
"""

import inspect
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from berth.spec.cluster import ClusterSpec
from berth.spec.data import DataSpec
from berth.spec.edge import EdgeSpec
from berth.spec.errors import Problem
from berth.spec.gateway import GatewaySpec
from berth.spec.images import ImageSpec
from berth.spec.kubernetes import KubernetesSpec
from berth.spec.models import ModelSpec
from berth.spec.network import NetworkSpec
from berth.spec.node_pool import NodePoolSpec
from berth.spec.registry import RegistrySpec

# What API Gateway takes: https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
_API_GATEWAY_SECONDS = 29
_API_GATEWAY_BYTES = 10 * 1024 * 1024
_API_GATEWAY_RATE = 10_000
_API_GATEWAY_BURST = 5_000


def problems(sections: Mapping[str, Any]) -> Iterator[Problem]:
    """Every broken rule for which all sections are there.

    Args:
        sections: name -> the section, typed.
    """
    for rule in RULES:
        needed = inspect.signature(rule).parameters
        if all(name in sections for name in needed):
            yield from rule(**{name: sections[name] for name in needed})


def _known_models(
    models: dict[str, ModelSpec], edge: EdgeSpec, data: DataSpec
) -> Iterator[Problem]:
    """The models that an edge site or a set of data names are models of the stack."""
    named = [
        (("edge", "sites", name, "models", index), model)
        for name, site in edge.sites.items()
        for index, model in enumerate(site.models)
    ] + [
        (("data", "datasets", name, "models", index), model)
        for name, dataset in data.datasets.items()
        for index, model in enumerate(dataset.models)
    ]
    for path, model in named:
        if model not in models:
            yield Problem(path, f"is not a model of this stack; one of {', '.join(models)}")


def _one_edge_before_regions(edge: EdgeSpec) -> Iterator[Problem]:
    """`edge.latency_routing.cdn_stack` is one of `edge.latency_routing.stacks`, and not
    on a stack with `edge.cdn`: one distribution is in front of the regions."""
    if edge.latency_routing is None or edge.latency_routing.cdn_stack is None:
        return
    path = ("edge", "latency_routing", "cdn_stack")
    if edge.cdn is not None:
        yield Problem(path, "does not go with edge.cdn: this stack has the distribution itself")
    if edge.latency_routing.cdn_stack not in edge.latency_routing.stacks:
        yield Problem(
            path, f"is not in edge.latency_routing.stacks: {', '.join(edge.latency_routing.stacks)}"
        )


def _registry_url(
    platform: str, registry: RegistrySpec, kubernetes: KubernetesSpec
) -> Iterator[Problem]:
    """`registry.url` is needed on platform kubernetes, and on aws taken only with
    `kubernetes.kubeconfig`, where both stand in for what AWS has."""
    if platform == "kubernetes" and registry.url is None:
        yield Problem(
            ("registry", "url"),
            "is missing; platform kubernetes needs the registry to push images to, such as "
            "registry.example.com/berth",
            False,
        )
    emulated = kubernetes.kubeconfig is not None
    if platform == "aws" and registry.url is not None and not emulated:
        yield Problem(
            ("registry", "url"), "is not for platform aws, which has its own registry; take it out"
        )
    if platform == "aws" and registry.url is None and emulated:
        yield Problem(
            ("registry", "url"),
            "is missing; with kubernetes.kubeconfig the stack's images go to a registry of that "
            "cluster's, such as registry.example.com/berth",
            False,
        )


def _only_aws(
    platform: str, registry: RegistrySpec, data: DataSpec, edge: EdgeSpec
) -> Iterator[Problem]:
    """On platform kubernetes the keys that say "aws" here are not taken, and a set of data needs a
    `source`."""
    if platform != "kubernetes":
        return
    for name, section in (("registry", registry), ("data", data), ("edge", edge)):
        for key in sorted(section.model_fields_set & _AWS_KEYS[name]):
            yield Problem((name, key), "is for platform aws only; take it out", False)
    for name, dataset in data.datasets.items():
        if dataset.source is None:
            yield Problem(
                ("data", "datasets", name, "source"),
                "is missing; platform kubernetes has no bucket of its own: oci://registry/name, "
                "s3://bucket/prefix or pvc://claim/folder",
                False,
            )


def _other_accounts_registry(platform: str, registry: RegistrySpec) -> Iterator[Problem]:
    """On aws a stack whose images are another account's neither copies them nor lets others
    read them: that is for the stack that has them."""
    if platform != "aws" or registry.source_stack is None:
        return
    if registry.source_account is not None and registry.replicate_to:
        yield Problem(
            ("registry", "replicate_to"),
            "is for the account that has the images; set it on the stack in registry.source_stack",
            False,
        )
    if registry.readers:
        yield Problem(
            ("registry", "readers"),
            "is for the stack that has the images; set it on the stack in registry.source_stack",
            False,
        )


_AWS_KEYS = {
    "registry": {
        "source_stack",
        "source_account",
        "readers",
        "replicate_to",
        "keep_images",
        "keep_untagged_days",
    },
    "data": {"noncurrent_version_days", "archive_after_days", "replica_region"},
    "edge": {"cdn", "latency_routing"},
}


def _api_gateway_limits(platform: str, gateway: GatewaySpec) -> Iterator[Problem]:
    """On aws the gateway stays within API Gateway: 29 seconds, 10485760 bytes, per client 10000
    requests per second and a burst of 5000, and quotas by day, week or month."""
    if platform != "aws":
        return
    if gateway.timeout_seconds > _API_GATEWAY_SECONDS:
        yield Problem(
            ("gateway", "timeout_seconds"),
            f"is longer than API Gateway waits; {_API_GATEWAY_SECONDS} or less on platform aws",
        )
    if gateway.max_body_bytes > _API_GATEWAY_BYTES:
        yield Problem(
            ("gateway", "max_body_bytes"),
            f"is more than API Gateway takes; {_API_GATEWAY_BYTES} or less on platform aws",
        )
    for name, client in gateway.clients.items():
        path = ("gateway", "clients", name)
        if client.rate_per_second > _API_GATEWAY_RATE:
            yield Problem(
                (*path, "rate_per_second"),
                f"is above the quota of an AWS account, {_API_GATEWAY_RATE}; that or less",
            )
        if client.burst > _API_GATEWAY_BURST:
            yield Problem(
                (*path, "burst"),
                f"is above the quota of an AWS account, {_API_GATEWAY_BURST}; that or less",
            )
        if client.quota is not None and client.quota.period == "hour":
            yield Problem(
                (*path, "quota", "period"),
                "hour is not a period of API Gateway's quotas; day, week or month on platform aws",
                False,
            )


def _pools_for_models(
    platform: str, models: dict[str, ModelSpec], node_pools: dict[str, NodePoolSpec]
) -> Iterator[Problem]:
    """On aws one pool with `compute: cpu`, a `min` of 1 or more and no taints runs what the cluster
    itself needs, and models with `compute: gpu` need a pool of that class."""
    if platform != "aws":
        return
    if not any(
        pool.compute == "cpu" and pool.min > 0 and not pool.taints for pool in node_pools.values()
    ):
        yield Problem(
            ("node_pools",),
            "has no pool for what the cluster itself runs; one with compute: cpu, min of 1 or "
            "more and no taints",
            False,
        )
    if not any(pool.compute == "gpu" for pool in node_pools.values()):
        for name, model in models.items():
            if model.compute == "gpu":
                yield Problem(
                    ("models", name, "compute"), "has no nodes; add a pool with compute: gpu"
                )


def _images_for_pools(
    platform: str, images: ImageSpec, node_pools: dict[str, NodePoolSpec]
) -> Iterator[Problem]:
    """On aws images are built for the architecture of every pool."""
    for name, pool in node_pools.items():
        if platform == "aws" and pool.architecture not in images.architectures:
            yield Problem(
                ("node_pools", name, "architecture"),
                "is not one that images are built for: add it to images.architectures",
            )


def _service_addresses(
    platform: str, network: NetworkSpec, cluster: ClusterSpec
) -> Iterator[Problem]:
    """On aws `cluster.service_cidr` and `network.cidr` do not overlap."""
    vpc = ipaddress.IPv4Network(network.cidr)
    if platform == "aws" and vpc.overlaps(ipaddress.IPv4Network(cluster.service_cidr)):
        yield Problem(
            ("cluster", "service_cidr"),
            f"overlaps network.cidr, {network.cidr}; a range apart from it",
        )


RULES: tuple[Callable[..., Iterator[Problem]], ...] = (
    _known_models,
    _one_edge_before_regions,
    _registry_url,
    _other_accounts_registry,
    _only_aws,
    _api_gateway_limits,
    _pools_for_models,
    _images_for_pools,
    _service_addresses,
)
