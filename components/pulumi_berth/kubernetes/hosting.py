"""KubernetesHosting: everything that serves models in a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.core.v1 import Secret

from berth_protocol.model_card import digest
from pulumi_berth.api_key import ApiKey, ClientKeys, create_client_keys, select_newest_keys
from pulumi_berth.component_args import ArgumentError, parse_args
from pulumi_berth.gateway_config import (
    DEFAULT_MAX_BODY_BYTES,
    DEFAULT_TIMEOUT_SECONDS,
    declare_gateway_config,
)
from pulumi_berth.hosted_models import (
    HostedModelArgs,
    can_fail_over,
    check_clients,
    check_models,
    find_exposed,
    find_model_dir,
    find_traffic,
    resolve_clients,
)
from pulumi_berth.kubernetes.berth import (
    HTTP_PORT,
    TOKEN_KEY,
    KubernetesBerth,
    KubernetesBerthArgs,
)
from pulumi_berth.kubernetes.berth_plan import (
    get_berth_name,
    is_in_use,
    plan_replicas,
)
from pulumi_berth.kubernetes.certificate import create_certificate
from pulumi_berth.kubernetes.cluster_access import ClusterAccess
from pulumi_berth.kubernetes.entry_pods import EntryPodsArgs
from pulumi_berth.kubernetes.gateway import PUBLIC_PORT, Gateway, GatewayArgs, SharedLimits
from pulumi_berth.kubernetes.gateway import SELECTOR_LABELS as GATEWAY_LABELS
from pulumi_berth.kubernetes.gateway_route import GatewayRoute, GatewayRouteArgs
from pulumi_berth.kubernetes.hosting_args import (
    DEFAULT_CONTROLLER_IMAGE,
    DEFAULT_METRICS_NAMESPACE,
    HostingLimitsArgs,
    HostingServiceArgs,
    KubernetesHostingArgs,
)
from pulumi_berth.kubernetes.hosting_images import HostingImages, create_images
from pulumi_berth.kubernetes.hosting_namespace import HostingNamespace, HostingNamespaceArgs
from pulumi_berth.kubernetes.model_route import ModelRoute, ModelRouteArgs
from pulumi_berth.kubernetes.objects import build_labels
from pulumi_berth.kubernetes.pod_monitors import create_pod_monitors
from pulumi_berth.kubernetes.route_plan import BackendRef, RoutePlan, build_service_ref
from pulumi_berth.kubernetes.traefik import SELECTOR_LABELS as TRAEFIK_LABELS
from pulumi_berth.kubernetes.traefik import ServiceType, Traefik, TraefikArgs
from pulumi_berth.kubernetes.valkey import SELECTOR_LABELS as VALKEY_LABELS
from pulumi_berth.kubernetes.valkey import Valkey, ValkeyArgs
from pulumi_berth.serving_settings import ServingSettings
from pulumi_berth.values import default_to

OBJECT_NAMES = (
    *("gateway", "berth.gateway", "traefik", "valkey"),
    *("authorize", "remove-headers", "retry"),
)
"""Names of the objects in every stack's namespace. The other names contain a model's name."""


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
    unmarked_opts = opts
    opts = pulumi.ResourceOptions.merge(
        opts,
        pulumi.ResourceOptions(transformations=[namespace.mark_object, namespace.collect_object]),
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
            pods=EntryPodsArgs(
                replicas=args.gateway_replicas,
                max_replicas=args.gateway_max_replicas,
                resources=args.gateway_resources,
                require_zones=args.require_zones,
            ),
        ),
        opts,
    )
    if args.has_prometheus_operator:
        create_pod_monitors(namespace.name, args.monitor_labels or {}, opts=opts, prefix=prefix)
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
            tls_secret=_find_tls_secret(service, namespace, opts=opts, prefix=prefix),
            timeout_seconds=default_to(args.timeout_seconds, DEFAULT_TIMEOUT_SECONDS),
            metrics_namespace=metrics_namespace,
            pull_secret=args.pull_secret,
            priority=namespace.entry_priority,
            pods=EntryPodsArgs(
                replicas=args.controller_replicas,
                max_replicas=args.controller_max_replicas,
                resources=args.controller_resources,
                require_zones=args.require_zones,
            ),
        ),
        # It polls the gateway, and waits longer and longer before the next attempt if that fails.
        pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[gateway])),
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
                plan=_plan_route(name, model, berths, traefik),
                parent_gateway=traefik.gateway,
                hostnames=hostnames,
                filters=filters,
            ),
            opts,
        )
    namespace.guard_removal(f"{prefix}namespace-guard", unmarked_opts)
    return KubernetesHostingParts(berths=berths, traefik=traefik, namespace=namespace)


def _find_tls_secret(
    service: HostingServiceArgs,
    namespace: HostingNamespace,
    *,
    opts: pulumi.ResourceOptions,
    prefix: str,
) -> pulumi.Input[str] | None:
    """Return the Secret that the ingress controller serves with, or None for plain HTTP."""
    if service.certificate is None:
        return service.tls_secret
    if not service.hostnames or service.tls_secret is not None:
        problem = "requires hostnames, and cannot be combined with tls_secret"
        raise ArgumentError([("service.certificate", problem)])
    return create_certificate(
        f"{prefix}certificate", service.certificate, namespace.name, service.hostnames, opts
    )


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
    name: str,
    model: HostedModelArgs,
    berths: Mapping[tuple[str, str], KubernetesBerth],
    traefik: Traefik,
) -> RoutePlan:
    """Return the plan of a model's route.

    If the model has a shadow version, requests without a version reach the gateway, which mirrors
    them as on every platform. Traefik would allocate the maximum size of a body for each request
    that it mirrors: 64 small requests at once exceed its memory limit.
    """
    services = {version: berths[name, version].service for version in model.versions}

    def build_split_backend(version: str) -> BackendRef:
        if not can_fail_over(model):
            return build_service_ref(services[version], HTTP_PORT)
        return traefik.create_share(
            name, version, get_berth_name(name, version), services[version], HTTP_PORT
        )

    traffic = find_traffic(model) if model.shadow is None else {}
    return RoutePlan(
        model=name,
        split_backends={
            version: build_split_backend(version) for version, percent in traffic.items() if percent
        },
        traffic=traffic,
        version_backends={
            version: build_service_ref(services[version], HTTP_PORT)
            for version in find_exposed(model)
        },
    )
