"""KubernetesHosting: everything that serves models in a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.core.v1 import Secret

from berth_gateway.limits.valkey_address import WhenUnreachable
from berth_protocol.model_card import digest
from pulumi_berth.api_key import ApiKey, ClientKeys, create_client_keys, select_newest_keys
from pulumi_berth.component_args import parse_args
from pulumi_berth.gateway_clients import BlockingArgs, JwtArgs
from pulumi_berth.gateway_config import (
    DEFAULT_MAX_BODY_BYTES,
    DEFAULT_TIMEOUT_SECONDS,
    declare_gateway_config,
)
from pulumi_berth.hosted_models import (
    ClientArgs,
    HostedModelArgs,
    check_clients,
    check_models,
    find_exposed,
    find_model_dir,
    find_traffic,
    resolve_clients,
)
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.images.third_party import get_image
from pulumi_berth.kubernetes.berth import (
    HTTP_PORT,
    TOKEN_KEY,
    KubernetesBerth,
    KubernetesBerthArgs,
)
from pulumi_berth.kubernetes.berth_plan import (
    GpuPlacement,
    get_berth_name,
    is_in_use,
    plan_replicas,
)
from pulumi_berth.kubernetes.cluster_access import ClusterAccess
from pulumi_berth.kubernetes.gateway import PUBLIC_PORT, Gateway, GatewayArgs, SharedLimits
from pulumi_berth.kubernetes.gateway import SELECTOR_LABELS as GATEWAY_LABELS
from pulumi_berth.kubernetes.gateway_route import GatewayRoute, GatewayRouteArgs
from pulumi_berth.kubernetes.hosting_images import HostingImages, create_images
from pulumi_berth.kubernetes.hosting_namespace import HostingNamespace, HostingNamespaceArgs
from pulumi_berth.kubernetes.model_route import ModelRoute, ModelRouteArgs
from pulumi_berth.kubernetes.objects import build_labels
from pulumi_berth.kubernetes.ownership import mark_objects
from pulumi_berth.kubernetes.route_plan import RoutePlan, build_service_ref
from pulumi_berth.kubernetes.traefik import SELECTOR_LABELS as TRAEFIK_LABELS
from pulumi_berth.kubernetes.traefik import ServiceType, Traefik, TraefikArgs
from pulumi_berth.kubernetes.valkey import SELECTOR_LABELS as VALKEY_LABELS
from pulumi_berth.kubernetes.valkey import Valkey, ValkeyArgs
from pulumi_berth.serving_settings import ServingSettings
from pulumi_berth.values import default_to

DEFAULT_CONTROLLER_IMAGE = get_image("traefik")
DEFAULT_METRICS_NAMESPACE = "monitoring"
OBJECT_NAMES = (
    *("gateway", "berth.gateway", "traefik", "valkey"),
    *("authorize", "remove-headers", "retry"),
)
"""Names of the objects in every stack's namespace. The other names contain a model's name."""


@dataclass(frozen=True, kw_only=True)
class HostingLimitsArgs:
    """Where the gateway's pods keep the clients' limits together: in a Valkey server."""

    valkey_url: pulumi.Input[str] | None = None
    """URL of an existing server with its password, a secret: `valkey://` or, with TLS,
    `valkeys://`. By default, the component runs a server in the namespace."""
    prefix: str | None = None
    """First part of the keys in an existing server. It must differ between stacks that share the
    server. Defaults to `berth:` and the namespace."""
    when_unreachable: WhenUnreachable | None = None
    """What a gateway does while it cannot reach the server. No request fails. Defaults to
    `own-limits`."""
    storage_class: pulumi.Input[str] | None = None
    """StorageClass of a volume for the data of the component's server. By default, the server keeps
    its data until its pod is deleted. The gateways then restore the quotas."""
    storage_gib: int | None = None
    """Size of the volume, in GiB. Defaults to 1."""


@dataclass(frozen=True, kw_only=True)
class HostingServiceArgs:
    """How clients outside the cluster reach the ingress controller."""

    type: ServiceType | None = None
    """Type of the Service. Defaults to `NodePort`."""
    node_port: int | None = None
    """Node port of the Service. By default, the cluster chooses one."""
    hostnames: Sequence[pulumi.Input[str]] | None = None
    """Host names that the routes match. Defaults to any host name."""
    tls_secret: pulumi.Input[str] | None = None
    """TLS Secret in the namespace that the ingress controller serves with. Defaults to plain
    HTTP."""


@dataclass(frozen=True, kw_only=True)
class KubernetesHostingArgs:
    """Arguments for `KubernetesHosting`."""

    namespace: str
    """Namespace, which the component creates and no one else uses."""
    adopt_namespace: bool | None = None
    """If true, the namespace exists already. The component adds only its own objects, and keeps the
    namespace and everything else in it when it is destroyed. Defaults to false."""
    kubeconfig: str | None = None
    """Path of the kubeconfig with which the component checks that no one else uses the namespace,
    before anything is created. Defaults to `KUBECONFIG` or `~/.kube/config`, unless a provider is
    passed in the options. Then, there is no check without this argument."""
    context: str | None = None
    """Context in that kubeconfig. Defaults to its current context."""
    models: Mapping[str, HostedModelArgs]
    """Models by name, as in their model cards."""
    images: ImageSettings
    """Registry that the images are pushed to, and how they are built."""
    clients: Mapping[str, ClientArgs] | None = None
    """Clients of the gateway by name. Defaults to one client named `default`."""
    jwt: JwtArgs | None = None
    """Issuer of JSON Web Tokens for clients with `subjects`. Defaults to none: clients have API
    keys."""
    blocking: BlockingArgs | None = None
    """When clients that keep exceeding their limits and addresses that guess keys are blocked."""
    limits: HostingLimitsArgs | None = None
    """Where the clients' limits are kept."""
    service: HostingServiceArgs | None = None
    """How clients outside the cluster reach the ingress controller."""
    max_body_bytes: int | None = None
    """Maximum size of a request body, in bytes. Defaults to 10 MiB."""
    timeout_seconds: float | None = None
    """Time limit for a berth's response, in seconds. Defaults to 30."""
    body_memory_bytes: int | None = None
    """Memory of a gateway for all request bodies together, in bytes. Defaults to a quarter of its
    container's memory, at most 1 GiB."""
    ready_seconds: int | None = None
    """Time limit for a new replica to become ready, in seconds. Defaults to 300."""
    gateway_image: pulumi.Input[str] | None = None
    """Image of the gateway. By default, the component builds it."""
    valkey_image: pulumi.Input[str] | None = None
    """Image of the Valkey server. By default, the component builds it."""
    controller_image: pulumi.Input[str] | None = None
    """Image of Traefik 3.7 or newer, the ingress controller. Defaults to the pinned image."""
    gateway_replicas: int | None = None
    """Pods of the gateway. Defaults to 2. With one, requests fail while its node drains."""
    controller_replicas: int | None = None
    """Pods of Traefik. Defaults to 2. With one, requests fail while its node drains."""
    pull_secret: pulumi.Input[str] | None = None
    """Secret in the namespace with which the nodes pull images. By default, the nodes can pull
    images without one."""
    metrics_namespace: pulumi.Input[str] | None = None
    """Namespace whose pods may read the metrics. Defaults to `monitoring`."""
    gpu: GpuPlacement | None = None
    """Placement of berths with GPUs."""
    has_pod_metrics: bool | None = None
    """True if the cluster serves metrics of pods to autoscalers. By default, `target_in_flight` has
    no effect, because an autoscaler that waits for a missing metric never removes replicas."""


@dataclass(frozen=True, kw_only=True)
class KubernetesHostingParts:
    """What a hosting stack in a cluster consists of.

    Attributes:
        berths: Berth of each (model, version).
        traefik: Ingress controller.
        namespace: Namespace that contains everything.
    """

    berths: Mapping[tuple[str, str], KubernetesBerth]
    traefik: Traefik
    namespace: HostingNamespace


class KubernetesHosting(pulumi.ComponentResource):
    """A hosting stack in a cluster: a namespace with default deny, a berth for each model version,
    the gateway, the Valkey server that keeps its limits, the ingress controller and the routes.

    The cluster must have the custom resource definitions of the Gateway API and of Traefik. Pass
    its provider in the options.
    """

    namespace: pulumi.Output[str]
    """Namespace that contains everything."""
    service: pulumi.Output[str]
    """Name of the Service through which clients reach the models."""
    port: pulumi.Output[int]
    """Port of that Service: the node port for a NodePort Service."""
    api_keys: pulumi.Output[dict[str, str]]
    """Newest API key of each client, a secret."""

    def __init__(
        self, name: str, args: KubernetesHostingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:index:KubernetesHosting", name, None, opts)
        args = parse_args(KubernetesHostingArgs, args)
        check_models(args.models)
        check_clients(args.clients, args.models)
        child_opts, prefix = pulumi.ResourceOptions(parent=self), f"{name}-"
        limits = args.limits or HostingLimitsArgs()
        images = create_images(
            args.models,
            args.images,
            gateway=args.gateway_image,
            valkey=args.valkey_image,
            has_own_valkey=limits.valkey_url is None,
            opts=child_opts,
            prefix=prefix,
        )
        clients = resolve_clients(args.clients)
        keys = create_client_keys(clients, opts=child_opts, prefix=prefix)
        has_provider = "kubernetes" in self._providers
        parts = declare_hosting(
            args,
            access=ClusterAccess(kubeconfig=args.kubeconfig, context=args.context)
            if args.kubeconfig is not None or not has_provider
            else None,
            images=images,
            keys=keys,
            opts=child_opts,
            prefix=prefix,
        )
        self.namespace = parts.namespace.name
        self.service = parts.traefik.service.metadata.name
        self.port = parts.traefik.port
        self.api_keys = pulumi.Output.secret(pulumi.Output.all(**select_newest_keys(clients, keys)))
        self.register_outputs(
            {
                "namespace": self.namespace,
                "service": self.service,
                "port": self.port,
                "api_keys": self.api_keys,
            }
        )


def declare_hosting(
    args: KubernetesHostingArgs,
    *,
    access: ClusterAccess | None,
    images: HostingImages,
    keys: ClientKeys,
    opts: pulumi.ResourceOptions,
    prefix: str = "",
) -> KubernetesHostingParts:
    """Declare the namespace, a berth per model version, the gateway, Traefik, and the routes.

    Args:
        access: Access to the cluster, to check who owns the namespace. None if there is none.
        keys: API keys of each client, by name.
        opts: Options that contain the cluster's provider.
        prefix: Prefix of the logical resource names.
    """
    namespace = HostingNamespace(
        f"{prefix}namespace",
        HostingNamespaceArgs(
            namespace=args.namespace,
            adopt=args.adopt_namespace,
            names=list_object_names(
                {name: list(model.versions) for name, model in args.models.items()}
            ),
            access=access,
        ),
        opts,
    )
    opts = pulumi.ResourceOptions.merge(
        opts, pulumi.ResourceOptions(transformations=[mark_objects(namespace.owner)])
    )
    # Client names contain no underscore, so this name cannot collide with a client's key.
    token = ApiKey(f"{prefix}berth_token", client="gateway", opts=opts).key
    token_secret = Secret(
        f"{prefix}berth-token",
        # Pulumi generates the name, so that a new token replaces the pods that read it.
        metadata={
            "namespace": namespace.name,
            "labels": build_labels("berth-token", "berth-token"),
        },
        immutable=True,
        string_data={TOKEN_KEY: token},
        opts=opts,
    )
    berths = _declare_berths(
        args, namespace, images, token_secret.metadata.name, opts=opts, prefix=prefix
    )
    metrics_namespace = _get_metrics_namespace(args)
    gateway = Gateway(
        f"{prefix}gateway",
        GatewayArgs(
            namespace=namespace.name,
            image=images.gateway,
            config=declare_gateway_config(
                args.models,
                resolve_clients(args.clients),
                keys,
                {version: berth.url for version, berth in berths.items()},
                max_body_bytes=args.max_body_bytes,
                timeout_seconds=args.timeout_seconds,
                body_memory_bytes=args.body_memory_bytes,
                jwt=args.jwt,
                blocking=args.blocking,
                splits_traffic=False,
            ),
            token=token,
            limits=_declare_limits(args, namespace, images, opts=opts, prefix=prefix),
            callers=[TRAEFIK_LABELS],
            metrics_namespace=metrics_namespace,
            jwks_url=args.jwt.jwks_url if args.jwt is not None else None,
            pull_secret=args.pull_secret,
            priority=namespace.entry_priority,
            replicas=args.gateway_replicas,
        ),
        opts,
    )
    service = args.service or HostingServiceArgs()
    traefik = Traefik(
        f"{prefix}traefik",
        TraefikArgs(
            namespace=namespace.name,
            namespace_name=args.namespace,
            cluster_name=namespace.name_in_cluster("traefik"),
            owner_id=namespace.owner_id,
            image=DEFAULT_CONTROLLER_IMAGE
            if args.controller_image is None
            else args.controller_image,
            service_type=default_to(service.type, ServiceType.NODE_PORT),
            node_port=service.node_port,
            tls_secret=service.tls_secret,
            timeout_seconds=default_to(args.timeout_seconds, DEFAULT_TIMEOUT_SECONDS),
            metrics_namespace=metrics_namespace,
            pull_secret=args.pull_secret,
            priority=namespace.entry_priority,
            replicas=args.controller_replicas,
        ),
        opts,
    )
    hostnames = service.hostnames or []
    GatewayRoute(
        f"{prefix}gateway-route",
        GatewayRouteArgs(
            namespace=namespace.name,
            parent_gateway=traefik.gateway,
            hostnames=hostnames,
            service=gateway.service,
            port=PUBLIC_PORT,
        ),
        opts,
    )
    filters = traefik.create_inference_filters(gateway.authorize_url)
    for name, model in args.models.items():
        ModelRoute(
            f"{prefix}{name}",
            ModelRouteArgs(
                namespace=namespace.name,
                plan=_plan_route(name, model, berths),
                parent_gateway=traefik.gateway,
                hostnames=hostnames,
                filters=filters,
            ),
            opts,
        )
    return KubernetesHostingParts(berths=berths, traefik=traefik, namespace=namespace)


def list_object_names(versions: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of a stack's objects in its namespace, for the check of their owner.

    Args:
        versions: Versions of each model.
    """
    berths = [
        get_berth_name(model, version) for model, names in versions.items() for version in names
    ]
    return [*OBJECT_NAMES, *versions, *berths]


def _declare_limits(
    args: KubernetesHostingArgs,
    namespace: HostingNamespace,
    images: HostingImages,
    *,
    opts: pulumi.ResourceOptions,
    prefix: str,
) -> SharedLimits:
    """Declare the server that keeps the limits of this cluster, unless there is one."""
    limits = args.limits or HostingLimitsArgs()
    if limits.valkey_url is not None:
        return SharedLimits(
            valkey_url=pulumi.Output.secret(limits.valkey_url),
            prefix=default_to(limits.prefix, f"berth:{args.namespace}"),
            when_unreachable=limits.when_unreachable,
        )
    assert images.valkey is not None
    valkey = Valkey(
        f"{prefix}valkey",
        ValkeyArgs(
            namespace=namespace.name,
            image=images.valkey,
            callers=[GATEWAY_LABELS],
            storage_class=limits.storage_class,
            storage_gib=limits.storage_gib,
            pull_secret=args.pull_secret,
            priority=namespace.entry_priority,
        ),
        opts,
    )
    return SharedLimits(
        valkey_url=valkey.url,
        prefix="berth",
        pods=VALKEY_LABELS,
        when_unreachable=limits.when_unreachable,
    )


def _declare_berths(
    args: KubernetesHostingArgs,
    namespace: HostingNamespace,
    images: HostingImages,
    token_secret: pulumi.Input[str],
    *,
    opts: pulumi.ResourceOptions,
    prefix: str,
) -> dict[tuple[str, str], KubernetesBerth]:
    return {
        (name, version): KubernetesBerth(
            f"{prefix}{name}-{version}",
            KubernetesBerthArgs(
                namespace=namespace.name,
                model=name,
                version=version,
                digest=digest(find_model_dir(entry.directory)),
                image=images.serving[name, version],
                replicas=plan_replicas(model, version, has_pod_metrics=bool(args.has_pod_metrics)),
                resources=model.resources,
                # Bodies do not pass through the gateway, so the berth applies its limit too.
                serving=(model.serving or ServingSettings()).limit_body(
                    default_to(args.max_body_bytes, DEFAULT_MAX_BODY_BYTES)
                ),
                priority=namespace.exposed_priority
                if is_in_use(model, version)
                else namespace.standby_priority,
                callers=[TRAEFIK_LABELS, GATEWAY_LABELS],
                token_secret=token_secret,
                metrics_namespace=_get_metrics_namespace(args),
                ready_seconds=args.ready_seconds,
                gpu=args.gpu,
                datasets=model.datasets,
                pull_secret=args.pull_secret,
            ),
            opts,
        )
        for name, model in args.models.items()
        for version, entry in model.versions.items()
    }


def _get_metrics_namespace(args: KubernetesHostingArgs) -> pulumi.Input[str]:
    given = args.metrics_namespace
    return DEFAULT_METRICS_NAMESPACE if given is None else given


def _plan_route(
    name: str, model: HostedModelArgs, berths: Mapping[tuple[str, str], KubernetesBerth]
) -> RoutePlan:
    """Return the plan of a model's route.

    If the model has a shadow version, requests without a version reach the gateway, which mirrors
    them as on every platform. Traefik would allocate the maximum size of a body for each request
    that it mirrors: 64 small requests at once exceed its memory limit.
    """
    services = {version: berths[name, version].service for version in model.versions}
    traffic = find_traffic(model) if model.shadow is None else {}
    return RoutePlan(
        model=name,
        split_backends={
            version: build_service_ref(services[version], HTTP_PORT)
            for version, percent in traffic.items()
            if percent
        },
        traffic=traffic,
        version_backends={
            version: build_service_ref(services[version], HTTP_PORT)
            for version in find_exposed(model)
        },
    )
