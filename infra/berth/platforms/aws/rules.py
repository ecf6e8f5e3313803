"""Rules of the specification that apply only to AWS."""

import ipaddress
import re
from collections.abc import Iterator

from berth.platforms.aws.support import find_unpinned_parts
from berth.spec.aws import ApiSpec, NetworkSpec
from berth.spec.cluster import ClusterSpec, NodePoolSpec
from berth.spec.document import Document
from berth.spec.edge import EdgeSpec
from berth.spec.errors import Path, Problem
from berth.spec.gateway import GatewaySpec
from berth.spec.hosting import HostingSpec
from berth.spec.images import ImageSpec, RegistrySpec
from berth.spec.kubernetes import KubernetesSpec
from berth.spec.models import ModelSpec
from pulumi_berth.aws.eks_versions import read_versions

# https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
_API_GATEWAY_SECONDS = 29
_API_GATEWAY_BYTES = 10 * 1024 * 1024
_API_GATEWAY_RATE = 10_000
_API_GATEWAY_BURST = 5_000

_PROFILE = "use aws:profile, or the variables of the AWS SDKs such as AWS_ACCESS_KEY_ID"
_PROVIDER_ONLY = {
    "accessKey": _PROFILE,
    "secretKey": _PROFILE,
    "token": _PROFILE,
    "assumeRoleWithWebIdentity": "set AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE",
    "sharedConfigFiles": "set AWS_CONFIG_FILE",
    "sharedCredentialsFiles": "set AWS_SHARED_CREDENTIALS_FILE",
}
"""Settings of the AWS provider that set its credentials, and what all clients can use instead."""

_STACK_NAME = re.compile(r"[a-z]([a-z0-9-]{0,14}[a-z0-9])?")
_REGION = re.compile(r"[a-z]{2}(-[a-z]{2,10}){1,2}-[1-9]")
# IAM allows 64 characters for the name of a role. Pulumi appends a hyphen and seven characters.
_ROLE_NAME_CHARACTERS = 64 - 8


def _registry_url(registry: RegistrySpec, kubernetes: KubernetesSpec) -> Iterator[Problem]:
    """On aws `registry.url` is set if and only if `kubernetes.kubeconfig` is set: then both
    replace AWS services."""
    is_emulated = kubernetes.kubeconfig is not None
    if registry.url is not None and not is_emulated:
        yield Problem(
            ("registry", "url"),
            "is not allowed on platform aws, which has its own registry; remove it",
        )
    if registry.url is None and is_emulated:
        yield Problem(
            ("registry", "url"),
            "is missing; with kubernetes.kubeconfig, set a registry that the cluster can pull "
            "from, such as registry.example.com/berth",
            False,
        )


def _no_parent_gateway(kubernetes: KubernetesSpec) -> Iterator[Problem]:
    """On aws `kubernetes.parent_gateway` is not allowed, because API Gateway and the load balancer
    reach the stack's own Traefik."""
    if kubernetes.parent_gateway is not None:
        yield Problem(
            ("kubernetes", "parent_gateway"),
            "cannot be used on platform aws, whose API reaches the stack's own Traefik; remove it",
            False,
        )


def _no_prometheus_objects(kubernetes: KubernetesSpec) -> Iterator[Problem]:
    """On aws `kubernetes.monitoring` is not allowed, because CloudWatch has alarms and
    dashboards."""
    if kubernetes.monitoring:
        yield Problem(
            ("kubernetes", "monitoring"),
            "cannot be used on platform aws, where CloudWatch has alarms and dashboards; remove "
            "it, and write files for a Prometheus of your own with 'berth monitoring'",
        )


def _other_accounts_registry(registry: RegistrySpec) -> Iterator[Problem]:
    """On aws a stack that uses the images of another account does not replicate them or share
    them. The stack that owns the images does."""
    if registry.source_stack is None:
        return
    if registry.source_account is not None and registry.replicate_to:
        yield Problem(
            ("registry", "replicate_to"),
            "applies only to the account that owns the images; set it on the stack in "
            "registry.source_stack",
            False,
        )
    if registry.readers:
        yield Problem(
            ("registry", "readers"),
            "applies only to the stack that owns the images; set it on the stack in "
            "registry.source_stack",
            False,
        )


def _api_gateway_limits(gateway: GatewaySpec) -> Iterator[Problem]:
    """On aws the gateway stays within the limits of API Gateway: 29 seconds, 10485760 bytes, per
    client 10000 requests per second and a burst of 5000, quotas by day, week or month, and API keys
    instead of tokens."""
    if gateway.jwt is not None:
        yield Problem(
            ("gateway", "jwt"),
            "cannot be used on platform aws, because API Gateway requires an API key; remove it "
            "and give its clients keys, or host the models on platform kubernetes",
            False,
        )
    if gateway.timeout_seconds > _API_GATEWAY_SECONDS:
        yield Problem(
            ("gateway", "timeout_seconds"),
            f"exceeds API Gateway's timeout; use {_API_GATEWAY_SECONDS} or less on platform aws",
        )
    if gateway.max_body_bytes > _API_GATEWAY_BYTES:
        yield Problem(
            ("gateway", "max_body_bytes"),
            f"exceeds API Gateway's size limit; use {_API_GATEWAY_BYTES} or less on platform aws",
        )
    for name, client in gateway.clients.items():
        path = ("gateway", "clients", name)
        if client.rate_per_second > _API_GATEWAY_RATE:
            yield Problem(
                (*path, "rate_per_second"),
                f"exceeds the quota of an AWS account; use {_API_GATEWAY_RATE} or less",
            )
        if client.burst > _API_GATEWAY_BURST:
            yield Problem(
                (*path, "burst"),
                f"exceeds the quota of an AWS account; use {_API_GATEWAY_BURST} or less",
            )
        if client.quota is not None and client.quota.period == "hour":
            yield Problem(
                (*path, "quota", "period"),
                "hour is not a quota period of API Gateway; use day, week or month on platform aws",
                False,
            )


def _pools_for_models(
    models: dict[str, ModelSpec], node_pools: dict[str, NodePoolSpec]
) -> Iterator[Problem]:
    """On aws one pool with `compute: cpu`, a `min` of 1 or more and no taints runs the cluster's
    own workloads, and models with `compute: gpu` need a pool of that class."""
    if not any(
        pool.compute == "cpu" and pool.min > 0 and not pool.taints for pool in node_pools.values()
    ):
        yield Problem(
            ("node_pools",),
            "has no pool for the cluster's own workloads; add one with compute: cpu, a min of 1 or "
            "more, and no taints",
            False,
        )
    if not any(pool.compute == "gpu" for pool in node_pools.values()):
        for name, model in models.items():
            if model.compute == "gpu":
                yield Problem(
                    ("models", name, "compute"),
                    "requires a node pool with compute: gpu; add one to node_pools",
                )


def _images_for_pools(images: ImageSpec, node_pools: dict[str, NodePoolSpec]) -> Iterator[Problem]:
    """On aws `images.architectures` includes the architecture of every pool."""
    for name, pool in node_pools.items():
        if pool.architecture not in images.architectures:
            yield Problem(
                ("node_pools", name, "architecture"),
                "is not in images.architectures; add it there",
            )


def _service_addresses(network: NetworkSpec, cluster: ClusterSpec) -> Iterator[Problem]:
    """On aws `cluster.service_cidr` and `network.cidr` do not overlap."""
    vpc = ipaddress.IPv4Network(network.cidr)
    if vpc.overlaps(ipaddress.IPv4Network(cluster.service_cidr)):
        yield Problem(
            ("cluster", "service_cidr"),
            f"overlaps network.cidr ({network.cidr}); use a separate range",
        )


def _limit_per_address(api: ApiSpec, edge: EdgeSpec) -> Iterator[Problem]:
    """On aws `api.waf.requests_per_ip` is not set behind CloudFront, whose addresses all clients
    share. `edge.cdn.requests_per_ip` limits the clients."""
    latency = edge.latency_routing
    is_behind_edge = edge.cdn is not None or (latency is not None and latency.cdn_stack is not None)
    if is_behind_edge and api.waf.requests_per_ip is not None:
        yield Problem(
            ("api", "waf", "requests_per_ip"),
            "would limit all clients together, because their requests come from CloudFront; remove "
            "it, and set edge.cdn.requests_per_ip in the stack that has edge.cdn",
        )


def _rate_of_all_clients(api: ApiSpec, gateway: GatewaySpec) -> Iterator[Problem]:
    """On aws no client's rate limit or burst exceeds `api.rate_limit`, the limit for all clients
    together."""
    for name, client in gateway.clients.items():
        for field in ("rate_per_second", "burst"):
            of_all, of_client = getattr(api.rate_limit, field), getattr(client, field)
            if of_client > of_all:
                yield Problem(
                    ("gateway", "clients", name, field),
                    f"exceeds api.rate_limit.{field} ({of_all:g}), the limit for all clients "
                    "together; raise that limit, or lower this one",
                )


def _keys_of_regions(edge: EdgeSpec, gateway: GatewaySpec) -> Iterator[Problem]:
    """On aws each client's keys are configured where `edge.latency_routing` is. Otherwise each
    Region generates its own keys, and a client's key is unknown in the next Region."""
    if edge.latency_routing is None:
        return
    for name, client in gateway.clients.items():
        path = ("gateway", "clients", name)
        missing: list[Path] = []
        if client.keys is None and client.key is None:
            missing = [(*path, "key")]
        elif client.keys is not None:
            missing = [
                (*path, "keys", key, "key") for key, entry in client.keys.items() if not entry.key
            ]
        for place in missing:
            key = ".".join(str(step) for step in place)
            yield Problem(
                place,
                "is missing, but edge.latency_routing serves the client from several Regions, and "
                "each would generate its own key; set the same key in the stack of each Region "
                f"with `pulumi config set --secret --path 'berth:{key}'`",
                False,
            )


def _known_version(cluster: ClusterSpec) -> Iterator[Problem]:
    """On aws `cluster.version` is one whose add-on versions Berth knows, unless `cluster.addons`
    and `cluster.autoscaler_image` set all of them."""
    known = read_versions()
    missing = find_unpinned_parts(cluster)
    if missing:
        yield Problem(
            ("cluster", "version"),
            f"is not in Berth's table of EKS versions ({min(known)} to {max(known)}); use one of "
            f"them, upgrade Berth, or set {', '.join(missing)}",
        )


RULES = (
    _keys_of_regions,
    _limit_per_address,
    _rate_of_all_clients,
    _registry_url,
    _no_parent_gateway,
    _no_prometheus_objects,
    _other_accounts_registry,
    _api_gateway_limits,
    _pools_for_models,
    _images_for_pools,
    _service_addresses,
    _known_version,
)


def check_document(document: Document) -> Iterator[Problem]:
    """Check the region and the stack's name, which do not depend on the sections."""
    region = document.foreign.get("aws:region")
    if region is None:
        yield Problem(
            ("platform",),
            "requires the key aws:region next to the berth: keys; add one, such as aws:region: "
            "eu-central-1",
        )
    elif not _REGION.fullmatch(str(region)):
        yield Problem(
            ("platform",),
            f"requires a valid aws:region, got {region!r}; use a Region such as eu-central-1",
        )
    if not _STACK_NAME.fullmatch(document.stack):
        yield Problem(
            ("platform",),
            f"cannot be used with the stack name {document.stack!r}, which becomes part of AWS "
            "names; rename the stack: 1 to 16 lowercase letters, digits and hyphens, starting "
            "with a letter and not ending with a hyphen",
        )


def check_spec(document: Document, spec: HostingSpec) -> Iterator[Problem]:
    """Check the length of AWS names and the regions of replicas."""
    yield from _check_role_names(document, spec)
    yield from _check_identity(spec)
    yield from _check_replica_regions(document, spec)


def _check_identity(spec: HostingSpec) -> Iterator[Problem]:
    """Credentials that only the provider can use would leave the cluster's token and the registry
    with another identity. Emulated AWS has neither."""
    if spec.kubernetes.kubeconfig is not None:
        return
    for setting, remedy in _PROVIDER_ONLY.items():
        if setting in spec.aws:
            yield Problem(
                ("platform",),
                f"cannot be used with aws:{setting}, which the cluster's token and the registry "
                f"login do not have; remove it and {remedy}",
                False,
            )


def _check_role_names(document: Document, spec: HostingSpec) -> Iterator[Problem]:
    """The IAM role has the longest name that is derived from a berth."""
    for model, entry in spec.models.items():
        for version in entry.versions:
            name = f"berth-{document.stack}-{model}-{version}"
            if len(name) > _ROLE_NAME_CHARACTERS:
                yield Problem(
                    ("models", model, "versions", version),
                    f"needs the IAM role name {name} with {len(name)} characters, but AWS leaves "
                    f"{_ROLE_NAME_CHARACTERS}; shorten the name of the stack, model or version",
                    False,
                )


def _check_replica_regions(document: Document, spec: HostingSpec) -> Iterator[Problem]:
    """A replica in the stack's own region does not survive the loss of that region."""
    own = document.foreign.get("aws:region")
    replicas: list[tuple[Path, str | None]] = [
        (("data", "replica_region"), spec.data.replica_region)
    ]
    for number, target in enumerate(spec.registry.replicate_to):
        if target.account is None:
            replicas.append((("registry", "replicate_to", number, "region"), target.region))
    for path, region in replicas:
        if region is not None and region == own:
            yield Problem(path, "is the stack's own Region; use another Region")
