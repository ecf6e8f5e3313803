"""The entry point of a hosting stack: its own ingress controller, or an existing Gateway."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from pulumi_berth.component_args import ArgumentError
from pulumi_berth.gateway_config import DEFAULT_TIMEOUT_SECONDS, needs_gateway
from pulumi_berth.hosted_models import (
    HostedModelArgs,
    can_fail_over,
    find_exposed,
    find_own_containers,
    find_traffic,
)
from pulumi_berth.kubernetes.accepted_route import AcceptedRoute
from pulumi_berth.kubernetes.berth import KubernetesBerth
from pulumi_berth.kubernetes.berth_plan import get_berth_name
from pulumi_berth.kubernetes.certificate import create_certificate
from pulumi_berth.kubernetes.cluster_access import ClusterAccess
from pulumi_berth.kubernetes.entry_pods import EntryPodsArgs
from pulumi_berth.kubernetes.gateway import AUTHORIZE_PORT, PUBLIC_PORT, Gateway
from pulumi_berth.kubernetes.gateway_route import GatewayRoute, GatewayRouteArgs
from pulumi_berth.kubernetes.hosting_args import (
    DEFAULT_CONTROLLER_IMAGE,
    HostingServiceArgs,
    KubernetesHostingArgs,
    get_metrics_namespace,
)
from pulumi_berth.kubernetes.hosting_namespace import HostingNamespace
from pulumi_berth.kubernetes.model_route import ModelRoute, ModelRouteArgs
from pulumi_berth.kubernetes.object_names import TRAEFIK_LABELS
from pulumi_berth.kubernetes.parent_gateway import (
    ParentGatewayArgs,
    build_callers,
    build_parent_ref,
)
from pulumi_berth.kubernetes.route_plan import BackendRef, RoutePlan, build_service_ref
from pulumi_berth.kubernetes.traefik import ServiceType, Traefik, TraefikArgs, build_share
from pulumi_berth.values import default_to


def find_callers(args: KubernetesHostingArgs) -> Sequence[Mapping[str, Any]]:
    """Return the NetworkPolicy peers that may send requests to the gateway."""
    if args.parent_gateway is not None:
        return build_callers(args.parent_gateway)
    return [{"pod_selector": {"match_labels": dict(TRAEFIK_LABELS)}}]


def attach_to_gateway(
    args: KubernetesHostingArgs,
    parent: ParentGatewayArgs,
    namespace: HostingNamespace,
    gateway: Gateway,
    access: ClusterAccess | None,
    *,
    opts: pulumi.ResourceOptions,
    prefix: str,
) -> None:
    """Declare the route of all requests, which an existing Gateway forwards to Berth's gateway.

    Raises:
        ArgumentError: If arguments of the stack's own ingress controller are set too.
    """
    service = args.service or HostingServiceArgs()
    own = {
        "service.type": service.type,
        "service.node_port": service.node_port,
        "service.tls_secret": service.tls_secret,
        "service.certificate": service.certificate,
    }
    if problems := [
        (key, "cannot be combined with parent_gateway, whose owner decides this; remove it")
        for key, value in own.items()
        if value is not None
    ]:
        raise ArgumentError(problems)
    hostnames = service.hostnames or []
    route = GatewayRoute(
        f"{prefix}gateway-route",
        GatewayRouteArgs(
            namespace=namespace.name,
            parent_ref=build_parent_ref(parent),
            hostnames=hostnames,
            service=gateway.service,
            port=PUBLIC_PORT,
        ),
        opts,
    )
    if access is not None:
        AcceptedRoute(
            f"{prefix}accepted-route",
            parent=parent,
            namespace=args.namespace,
            hostnames=hostnames,
            access=access,
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[route])),
        )


def declare_controller(
    args: KubernetesHostingArgs,
    namespace: HostingNamespace,
    gateway: Gateway,
    berths: Mapping[tuple[str, str], KubernetesBerth],
    *,
    opts: pulumi.ResourceOptions,
    prefix: str,
) -> Traefik:
    """Declare the stack's own ingress controller, and the route of each model."""
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
            metrics_namespace=get_metrics_namespace(args),
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
    body_filters = traefik.create_body_filters(gateway.service)
    GatewayRoute(
        f"{prefix}gateway-route",
        GatewayRouteArgs(
            namespace=namespace.name,
            parent_ref={"name": traefik.gateway},
            hostnames=hostnames,
            service=gateway.service,
            port=PUBLIC_PORT,
            errors_port=AUTHORIZE_PORT,
            body_filters=body_filters,
        ),
        opts,
    )
    filters = traefik.create_inference_filters(gateway.authorize_url, gateway.service)
    for name, model in args.models.items():
        plan = _plan_route(name, model, berths, traefik, gateway)
        if not plan.split_backends and not plan.version_backends:
            continue  # The gateway's own route receives every request of this model.
        ModelRoute(
            f"{prefix}{name}",
            ModelRouteArgs(
                namespace=namespace.name,
                plan=plan,
                parent_gateway=traefik.gateway,
                hostnames=hostnames,
                filters=filters,
                body_filters=body_filters,
            ),
            opts,
        )
    return traefik


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


def _plan_route(
    name: str,
    model: HostedModelArgs,
    berths: Mapping[tuple[str, str], KubernetesBerth],
    traefik: Traefik,
    gateway: Gateway,
) -> RoutePlan:
    """Return the plan of a model's route.

    If the model has a shadow version, requests without a version reach the gateway, which mirrors
    them as on every platform. Traefik would allocate the maximum size of a body for each request
    that it mirrors: 64 small requests at once exceed its memory limit. Requests to own containers
    reach the gateway as well; see `needs_gateway`.
    """
    own = find_own_containers(model)
    backends = {
        version: traefik.create_backend(
            get_berth_name(name, version), berths[name, version].service
        )
        for version in find_exposed(model)
        if version not in own
    }

    def build_split_backend(version: str) -> BackendRef:
        return build_share(name, version) if can_fail_over(model) else backends[version]

    traffic = {} if needs_gateway(model) else find_traffic(model)
    return RoutePlan(
        model=name,
        split_backends={
            version: build_split_backend(version) for version, percent in traffic.items() if percent
        },
        traffic=traffic,
        version_backends=backends,
        gateway=build_service_ref(gateway.service, PUBLIC_PORT),
    )
