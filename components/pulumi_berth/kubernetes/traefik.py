"""Traefik: the ingress controller of a stack, and the parts that depend on this controller.

Another ingress controller must offer the same attributes and methods as `Traefik`.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Service, ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from berth_gateway.config import get_direct_name, get_share_name, normalize_name
from pulumi_berth.component_args import parse_args
from pulumi_berth.kubernetes.api_groups import GATEWAY_API
from pulumi_berth.kubernetes.berth import HTTP_PORT as BERTH_PORT
from pulumi_berth.kubernetes.berth import HTTP_PORT_NAME as BERTH_PORT_NAME
from pulumi_berth.kubernetes.berth import KIND_LABELS
from pulumi_berth.kubernetes.entry_pods import EntryPodsArgs, create_autoscaler
from pulumi_berth.kubernetes.gateway import AUTHORIZE_PORT, PUBLIC_PORT
from pulumi_berth.kubernetes.object_names import GATEWAY_LABELS, TRAEFIK, TRAEFIK_LABELS
from pulumi_berth.kubernetes.objects import (
    DNS_EGRESS,
    add_pull_secret,
    build_labels,
    build_metadata,
    build_probe,
    build_restricted_pod,
    build_rolling_update,
    build_scrape_annotations,
    get_name_after_create,
    limit_ready_time,
    select_namespace,
    set_priority,
)
from pulumi_berth.kubernetes.ownership import OWNER
from pulumi_berth.kubernetes.traefik_config import (
    ADMIN,
    GRACE_SECONDS,
    WEB,
    build_arguments,
    build_body_errors,
    build_middlewares,
)
from pulumi_berth.kubernetes.traefik_rbac import grant_permissions

CONTROLLER = "traefik.io/gateway-controller"

_GATEWAY = "gateway"
_READY_SECONDS = 120
_RESOURCES = {
    "requests": {"cpu": "50m", "memory": "128Mi"},
    "limits": {"cpu": "2", "memory": "512Mi"},
}
# The pod accepts requests until every node has removed it, then finishes those in flight.
_PRE_STOP_SECONDS = 5
_API = "traefik.io/v1alpha1"


class ServiceType(enum.StrEnum):
    """The type of a Kubernetes Service."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


@dataclass(frozen=True, kw_only=True)
class TraefikArgs:
    """Arguments for `Traefik`.

    Attributes:
        namespace: Namespace of the stack. Traefik watches only this namespace.
        namespace_name: Name of the namespace, as plain text.
        cluster_name: Name of its cluster-scoped objects, which no other stack uses.
        owner_id: ID of the stack. Traefik reads only GatewayClasses with this label.
        image: Image of Traefik 3.6 or newer.
        service_type: Type of the Service that exposes Traefik.
        node_port: Node port of the Service. If None, the cluster chooses one.
        tls_secret: TLS Secret of the listener. If None, the listener serves plain HTTP.
        timeout_seconds: Time limit for a berth to start its response, in seconds.
        metrics_namespace: Namespace whose pods may read the metrics.
        pull_secret: Secret with which the nodes pull images. None if the nodes can pull images
            without a Secret.
        priority: PriorityClass of the pods. Defaults to the cluster's default.
        pods: Number, resources and spread of the pods. Defaults to those of `EntryPodsArgs`.
    """

    namespace: pulumi.Input[str]
    namespace_name: str
    cluster_name: pulumi.Input[str]
    owner_id: pulumi.Input[str]
    image: pulumi.Input[str]
    service_type: ServiceType
    node_port: int | None
    tls_secret: pulumi.Input[str] | None
    timeout_seconds: float
    metrics_namespace: pulumi.Input[str]
    pull_secret: pulumi.Input[str] | None = None
    priority: pulumi.Input[str] | None = None
    pods: EntryPodsArgs | None = None


class Traefik(pulumi.ComponentResource):
    """The ingress controller and its Gateway API `Gateway`.

    Attributes:
        gateway: Name of the `Gateway` that is the parent of every route.
        port: Port of the Service: the node port for a NodePort Service.
        service: The Service.
    """

    gateway: pulumi.Output[str]
    port: pulumi.Output[int]
    service: Service

    def __init__(
        self, name: str, args: TraefikArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:Traefik", name, None, opts)
        args = parse_args(TraefikArgs, args)
        pods = args.pods or EntryPodsArgs()
        child_opts = pulumi.ResourceOptions(parent=self)
        labels = build_labels("traefik", name)
        self._name, self._namespace = name, args.namespace
        self._namespace_name = args.namespace_name
        metadata = build_metadata(args.namespace, TRAEFIK, labels)
        account = ServiceAccount(
            name, metadata=metadata, **add_pull_secret(args.pull_secret), opts=child_opts
        )
        permissions = grant_permissions(
            name,
            args.namespace,
            args.cluster_name,
            account.metadata.name,
            labels,
            child_opts,
        )
        gateway_class = CustomResource(
            f"{name}-class",
            api_version=GATEWAY_API,
            kind="GatewayClass",
            metadata={"name": args.cluster_name, "labels": {**labels, OWNER: args.owner_id}},
            spec={"controllerName": CONTROLLER},
            opts=child_opts,
        )
        gateway = CustomResource(
            name,
            api_version=GATEWAY_API,
            kind="Gateway",
            metadata=build_metadata(args.namespace, _GATEWAY, labels),
            spec={"gatewayClassName": args.cluster_name, "listeners": [_build_listener(args)]},
            opts=pulumi.ResourceOptions.merge(
                child_opts, pulumi.ResourceOptions(depends_on=[gateway_class])
            ),
        )
        NetworkPolicy(name, metadata=metadata, spec=_build_policy(args), opts=child_opts)
        deployment = Deployment(
            name,
            metadata=build_metadata(args.namespace, TRAEFIK, labels, pods.annotations),
            spec={
                "replicas": pods.min_replicas,
                "selector": {"match_labels": TRAEFIK_LABELS},
                **build_rolling_update(_READY_SECONDS),
                "template": {
                    "metadata": {
                        "labels": labels,
                        "annotations": build_scrape_annotations(ADMIN),
                    },
                    "spec": _build_pod(args, account.metadata.name),
                },
            },
            opts=pulumi.ResourceOptions.merge(
                limit_ready_time(_READY_SECONDS, after=[*permissions, gateway], opts=child_opts),
                pods.options,
            ),
        )
        create_autoscaler(name, pods, metadata, deployment, child_opts)
        has_tls = args.tls_secret is not None
        self.service = Service(
            name,
            metadata=metadata,
            spec={
                "type": args.service_type.value,
                # Keep the client's address, which the gateway blocks if it guesses keys. A node
                # port must be reachable on every node, so there the address can be a node's.
                **(
                    {"external_traffic_policy": "Local"}
                    if args.service_type is ServiceType.LOAD_BALANCER
                    else {}
                ),
                "selector": TRAEFIK_LABELS,
                "ports": [
                    {
                        "name": "https" if has_tls else "http",
                        "port": 443 if has_tls else 80,
                        "target_port": "web",
                        **({} if args.node_port is None else {"node_port": args.node_port}),
                    }
                ],
            },
            opts=pulumi.ResourceOptions.merge(
                child_opts, pulumi.ResourceOptions(depends_on=[deployment])
            ),
        )
        PodDisruptionBudget(
            name,
            metadata=metadata,
            spec={"selector": {"match_labels": TRAEFIK_LABELS}, "max_unavailable": 1},
            opts=child_opts,
        )
        self.gateway = get_name_after_create(gateway, _GATEWAY)
        port = self.service.spec.ports[0]
        is_node_port = args.service_type is ServiceType.NODE_PORT
        self.port = port.node_port if is_node_port else port.port
        self.register_outputs({"gateway": self.gateway, "port": self.port})

    def create_inference_filters(
        self, authorize_url: pulumi.Input[str], gateway: pulumi.Input[str]
    ) -> list[dict[str, Any]]:
        """Create the HTTPRoute filters of every inference request that a berth receives directly.

        The gateway authorizes the request, then Traefik removes headers that berths must not
        receive, and retries if it cannot connect to a berth. If that fails too, the gateway states
        the error.

        Args:
            gateway: Name of the gateway's Service.
        """
        middlewares = build_middlewares(authorize_url, gateway)
        return [self._create_filter(name, spec) for name, spec in middlewares.items()]

    def create_body_filters(self, gateway: pulumi.Input[str]) -> list[dict[str, Any]]:
        """Create the HTTPRoute filters of requests of unknown length, which the gateway receives.

        Args:
            gateway: Name of the gateway's Service.
        """
        return [self._create_filter("body-errors", build_body_errors(gateway))]

    def create_backend(self, berth: str, service: pulumi.Input[str]) -> dict[str, Any]:
        """Create the backend of a version: the address of its Service.

        Traefik could also send requests to the pods, in turn. But it sends a pod that ends nothing
        more at once, and responds with 503 if all pods of a version end. Kubernetes still reaches
        them at the Service's address, which selects a pod for each connection; so that all pods
        get their share, they close a connection after `CONNECTION_REQUESTS` requests.
        """
        name = get_direct_name(berth)
        backend = {"kind": "Service", "name": service, "port": BERTH_PORT_NAME, "nativeLB": True}
        CustomResource(
            f"{self._name}-{name}",
            api_version=_API,
            kind="TraefikService",
            metadata=build_metadata(self._namespace, name, build_labels("traefik", berth)),
            spec={"weighted": {"services": [{**backend, "weight": 1}]}},
            opts=pulumi.ResourceOptions(parent=self),
        )
        return _refer(f"{normalize_name(f'{self._namespace_name}-{name}')}@kubernetescrd")

    def _create_filter(self, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        reference = {
            "group": "traefik.io",
            "kind": "Middleware",
            "name": self._create_middleware(name, spec),
        }
        return {"type": "ExtensionRef", "extensionRef": reference}

    def _create_middleware(self, name: str, spec: Mapping[str, Any]) -> pulumi.Output[str]:
        middleware = CustomResource(
            f"{self._name}-{name}",
            api_version=_API,
            kind="Middleware",
            metadata=build_metadata(self._namespace, name, build_labels("traefik", name)),
            spec=dict(spec),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return get_name_after_create(middleware, name)


def build_share(model: str, version: str) -> dict[str, Any]:
    """Return the backend for the share of a version. The gateway decides where the share goes.

    A Service without ready endpoints keeps its weight in a route, and its share of the requests
    gets an error. So the route refers to a service that Traefik polls from the gateway, and that
    one to the object that `Traefik.create_backend` creates for each version.
    """
    return _refer(f"{get_share_name(model, version)}@http")


def _refer(name: str) -> dict[str, Any]:
    return {"group": "traefik.io", "kind": "TraefikService", "name": name}


def _build_listener(args: TraefikArgs) -> dict[str, Any]:
    # Traefik expects the port of its entry point here, not the port of the Service.
    listener = {"name": "web", "port": WEB, "protocol": "HTTP"}
    if args.tls_secret is not None:
        listener = {
            "name": "web",
            "port": WEB,
            "protocol": "HTTPS",
            "tls": {"mode": "Terminate", "certificateRefs": [{"name": args.tls_secret}]},
        }
    return {**listener, "allowedRoutes": {"namespaces": {"from": "Same"}}}


def _build_pod(args: TraefikArgs, account: pulumi.Input[str]) -> dict[str, Any]:
    container = {
        "name": "traefik",
        "image": args.image,
        "args": build_arguments(
            args.namespace_name, args.owner_id, timeout_seconds=args.timeout_seconds
        ),
        "ports": [
            {"name": "web", "container_port": WEB},
            {"name": "admin", "container_port": ADMIN},
        ],
        "resources": (args.pods or EntryPodsArgs()).build_resources(_RESOURCES),
        "startup_probe": build_probe("/ping", "admin", period=1, failures=_READY_SECONDS),
        "readiness_probe": build_probe("/ping", "admin", period=2, failures=2),
        "liveness_probe": build_probe("/ping", "admin", period=10, failures=6),
        "lifecycle": {"pre_stop": {"sleep": {"seconds": _PRE_STOP_SECONDS}}},
    }
    return build_restricted_pod(
        [container],
        service_account=account,
        mount_token=True,
        **set_priority(args.priority),
        termination_grace_period_seconds=_PRE_STOP_SECONDS + GRACE_SECONDS + 5,
        topology_spread_constraints=(args.pods or EntryPodsArgs()).build_spread(TRAEFIK_LABELS),
    )


def _build_policy(args: TraefikArgs) -> dict[str, Any]:
    """Allow client requests, metrics scrapes, requests to berths and gateway, the API and DNS."""
    berths = {"pod_selector": {"match_labels": KIND_LABELS}}
    gateways = {"pod_selector": {"match_labels": GATEWAY_LABELS}}
    return {
        "pod_selector": {"match_labels": TRAEFIK_LABELS},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [
            {"ports": [{"port": "web", "protocol": "TCP"}]},
            {
                "from_": [select_namespace(args.metrics_namespace)],
                "ports": [{"port": "admin", "protocol": "TCP"}],
            },
        ],
        "egress": [
            DNS_EGRESS,
            {"to": [berths], "ports": [{"port": BERTH_PORT, "protocol": "TCP"}]},
            {
                "to": [gateways],
                "ports": [
                    {"port": port, "protocol": "TCP"} for port in (PUBLIC_PORT, AUTHORIZE_PORT)
                ],
            },
            # The API server is not a pod, and its address differs per cluster.
            {"ports": [{"port": port, "protocol": "TCP"} for port in (443, 6443)]},
        ],
    }
