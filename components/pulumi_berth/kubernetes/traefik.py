"""Traefik: the Gateway API controller of a stack, and what only this controller knows.

What another controller would have to offer is what `Traefik` has as attributes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Service, ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from pulumi_berth.kubernetes import traefik_rbac as traefik_rights
from pulumi_berth.kubernetes.berth import HTTP_PORT as BERTH_PORT
from pulumi_berth.kubernetes.berth import NAME_SERVICE
from pulumi_berth.kubernetes.gateway import AUTHORIZE_PORT, PUBLIC_PORT
from pulumi_berth.kubernetes.kubernetes_object import (
    PART_OF,
    in_namespace,
    labels,
    made,
    pulls_with,
    ready_within,
    restricted_pod,
    rolling,
    spread,
)
from pulumi_berth.kubernetes.traffic import GATEWAY_API

MARKS = {"app.kubernetes.io/name": "traefik", "app.kubernetes.io/part-of": PART_OF}
CONTROLLER = "traefik.io/gateway-controller"

_GATEWAY = "gateway"
_WEB, _ADMIN = 8000, 9000
_READY_SECONDS = 120
# Requests go on while every node learns that the pod leaves, then finish.
_LEAVING_SECONDS = 5
_GRACE_SECONDS = 30
_API = "traefik.io/v1alpha1"
# What the gate says of a request that may pass, and the berth gets to know.
_FROM_GATE = (
    "x-request-id",
    "x-berth-client",
    "x-berth-return-x-request-id",
    "x-berth-return-ratelimit-limit",
    "x-berth-return-ratelimit-remaining",
    "x-berth-return-ratelimit-reset",
)

_NOT_THE_CLIENTS = ("x-api-key", "x-berth-token", "x-berth-shadow")

ServiceType = Literal["ClusterIP", "NodePort", "LoadBalancer"]


@dataclass(frozen=True, kw_only=True)
class TraefikArgs:
    """How the controller runs.

    Attributes:
        namespace: of the stack; the controller sees no other.
        namespace_name: the same, as plain text.
        image: of Traefik 3.6 or newer.
        service_type, node_port: how it is reached from outside.
        tls_secret: name of the TLS Secret that it serves with; None for plain HTTP.
        timeout_seconds: what a berth gets to begin its answer.
        metrics_namespace: the namespace whose pods may read its metrics.
        pull_secret: name of the Secret to pull images with; None where the nodes may.
        copies: pods.
    """

    namespace: pulumi.Input[str]
    namespace_name: str
    image: str
    service_type: ServiceType
    node_port: int | None
    tls_secret: str | None
    timeout_seconds: float
    metrics_namespace: str
    pull_secret: str | None = None
    copies: int = 2


class Traefik(pulumi.ComponentResource):
    """The controller with its Gateway.

    Attributes:
        gateway: name of the Gateway that routes name as their parent.
        port: of the Service, from outside.
        service: name of the Service.
    """

    gateway: pulumi.Output[str]
    port: pulumi.Output[int]
    service: Service

    def __init__(
        self, name: str, args: TraefikArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:Traefik", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        marks = labels("traefik", name)
        self._name, self._namespace = name, args.namespace

        def metadata() -> dict[str, Any]:
            return in_namespace(args.namespace, "traefik", marks)

        account = ServiceAccount(
            name, metadata=metadata(), **pulls_with(args.pull_secret), opts=inside
        )
        rights = traefik_rights.grant(
            name, args.namespace, args.namespace_name, account.metadata.name, marks, inside
        )
        class_name = f"berth-{args.namespace_name}"
        gateway_class = CustomResource(
            f"{name}-class",
            api_version=GATEWAY_API,
            kind="GatewayClass",
            metadata={"name": class_name, "labels": {**marks, **_class_mark(args)}},
            spec={"controllerName": CONTROLLER},
            opts=inside,
        )
        gateway = CustomResource(
            name,
            api_version=GATEWAY_API,
            kind="Gateway",
            metadata=in_namespace(args.namespace, _GATEWAY, marks),
            spec={"gatewayClassName": class_name, "listeners": [_listener(args)]},
            opts=pulumi.ResourceOptions.merge(
                inside, pulumi.ResourceOptions(depends_on=[gateway_class])
            ),
        )
        NetworkPolicy(name, metadata=metadata(), spec=_policy(args), opts=inside)
        deployment = Deployment(
            name,
            metadata=metadata(),
            spec={
                "replicas": args.copies,
                "selector": {"match_labels": MARKS},
                **rolling(_READY_SECONDS),
                "template": {
                    "metadata": {"labels": marks},
                    "spec": _pod(args, account.metadata.name),
                },
            },
            opts=ready_within(_READY_SECONDS, after=[*rights, gateway], opts=inside),
        )
        tls = args.tls_secret is not None
        self.service = Service(
            name,
            metadata=metadata(),
            spec={
                "type": args.service_type,
                "selector": MARKS,
                "ports": [
                    {
                        "name": "https" if tls else "http",
                        "port": 443 if tls else 80,
                        "target_port": "web",
                        **({"node_port": args.node_port} if args.node_port else {}),
                    }
                ],
            },
            opts=pulumi.ResourceOptions.merge(
                inside, pulumi.ResourceOptions(depends_on=[deployment])
            ),
        )
        PodDisruptionBudget(
            name,
            metadata=metadata(),
            spec={"selector": {"match_labels": MARKS}, "max_unavailable": 1},
            opts=inside,
        )
        self.gateway = made(gateway, _GATEWAY)
        port = self.service.spec.ports[0]
        self.port = port.port if args.service_type != "NodePort" else port.node_port
        self.register_outputs({"gateway": self.gateway, "port": self.port})

    def inference_filters(self, authorize_url: pulumi.Input[str]) -> list[dict[str, Any]]:
        """What every inference request passes on its way to a berth: the gate's judgement, then
        a second try where the first found no berth. Filters of an HTTPRoute."""
        judged = self._middleware(
            "checked",
            {
                "forwardAuth": {
                    "address": authorize_url,
                    "authResponseHeaders": list(_FROM_GATE),
                    "trustForwardHeader": False,
                }
            },
        )
        # The key has done its work, and what is between gateway and berth is not the client's.
        bare = self._middleware(
            "keyless", {"headers": {"customRequestHeaders": dict.fromkeys(_NOT_THE_CLIENTS, "")}}
        )
        again = self._middleware("again", {"retry": {"attempts": 3, "initialInterval": "50ms"}})
        return [
            {
                "type": "ExtensionRef",
                "extensionRef": {"group": "traefik.io", "kind": "Middleware", "name": name},
            }
            for name in (judged, bare, again)
        ]

    def copying(
        self, berth: str, service: pulumi.Input[str], shadow: pulumi.Input[str], port: int
    ) -> dict[str, Any]:
        """Where requests for the berth `berth` go so that the Service `shadow` gets copies.

        A rule's own RequestMirror filter would be the standard's way; Traefik 3.6 refuses it, and
        with it the whole route.
        """
        name = f"{berth}-copied"
        made_of = CustomResource(
            f"{self._name}-{name}",
            api_version=_API,
            kind="TraefikService",
            metadata=in_namespace(self._namespace, name, labels("traefik", berth)),
            spec={
                "mirroring": {
                    "kind": "Service",
                    "name": service,
                    "port": port,
                    "mirrors": [{"kind": "Service", "name": shadow, "port": port, "percent": 100}],
                }
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        return {"group": "traefik.io", "kind": "TraefikService", "name": made(made_of, name)}

    def _middleware(self, name: str, spec: Mapping[str, Any]) -> pulumi.Output[str]:
        middleware = CustomResource(
            f"{self._name}-{name}",
            api_version=_API,
            kind="Middleware",
            metadata=in_namespace(self._namespace, name, labels("traefik", name)),
            spec=dict(spec),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return made(middleware, name)


def _class_mark(args: TraefikArgs) -> dict[str, str]:
    return {"berth/namespace": args.namespace_name}


def _listener(args: TraefikArgs) -> dict[str, Any]:
    # Traefik wants the port of its own entry point here, not that of the Service.
    listener = {"name": "web", "port": _WEB, "protocol": "HTTP"}
    if args.tls_secret is not None:
        listener = {
            "name": "web",
            "port": _WEB,
            "protocol": "HTTPS",
            "tls": {"mode": "Terminate", "certificateRefs": [{"name": args.tls_secret}]},
        }
    return {**listener, "allowedRoutes": {"namespaces": {"from": "Same"}}}


def _pod(args: TraefikArgs, account: pulumi.Input[str]) -> dict[str, Any]:
    only_here = args.namespace_name
    ((class_key, class_value),) = _class_mark(args).items()
    container = {
        "name": "traefik",
        "image": args.image,
        "args": [
            f"--entrypoints.web.address=:{_WEB}",
            f"--entrypoints.traefik.address=:{_ADMIN}",
            "--entrypoints.web.transport.lifecycle.graceTimeOut=" + f"{_GRACE_SECONDS}s",
            "--ping=true",
            "--metrics.prometheus=true",
            "--providers.providersThrottleDuration=200ms",
            "--providers.kubernetesgateway=true",
            f"--providers.kubernetesgateway.namespaces={only_here}",
            f"--providers.kubernetesgateway.labelselector={class_key}={class_value}",
            "--providers.kubernetescrd=true",
            f"--providers.kubernetescrd.namespaces={only_here}",
            # Nodes and ingress classes are none of its business.
            "--providers.kubernetescrd.disableclusterscoperesources=true",
            "--serverstransport.forwardingtimeouts.responseheadertimeout="
            f"{args.timeout_seconds:g}s",
            "--serverstransport.maxidleconnsperhost=256",
            "--accesslog=true",
            "--accesslog.format=json",
            "--accesslog.fields.headers.defaultmode=drop",
            "--accesslog.fields.headers.names.X-Berth-Client=keep",
            "--accesslog.fields.headers.names.X-Request-Id=keep",
            "--log.format=json",
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
        ],
        "ports": [
            {"name": "web", "container_port": _WEB},
            {"name": "admin", "container_port": _ADMIN},
        ],
        "resources": {
            "requests": {"cpu": "50m", "memory": "128Mi"},
            "limits": {"cpu": "2", "memory": "512Mi"},
        },
        "startup_probe": _probe(1, _READY_SECONDS),
        "readiness_probe": _probe(2, 2),
        "liveness_probe": _probe(10, 6),
        "lifecycle": {"pre_stop": {"sleep": {"seconds": _LEAVING_SECONDS}}},
    }
    return restricted_pod(
        [container],
        service_account=account,
        token=True,
        termination_grace_period_seconds=_LEAVING_SECONDS + _GRACE_SECONDS + 5,
        topology_spread_constraints=spread(MARKS),
    )


def _probe(period: int, failures: int) -> dict[str, Any]:
    return {
        "http_get": {"path": "/ping", "port": "admin"},
        "period_seconds": period,
        "timeout_seconds": 5,
        "failure_threshold": failures,
    }


def _policy(args: TraefikArgs) -> dict[str, Any]:
    """In from everywhere to the door; out to what it routes to, and to the cluster's API."""
    scraper = {"match_labels": {"kubernetes.io/metadata.name": args.metrics_namespace}}

    def pods(name: str) -> dict[str, Any]:
        return {"pod_selector": {"match_labels": {"app.kubernetes.io/name": name}}}

    return {
        "pod_selector": {"match_labels": MARKS},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [
            {"ports": [{"port": "web", "protocol": "TCP"}]},
            {
                "from_": [{"namespace_selector": scraper}],
                "ports": [{"port": "admin", "protocol": "TCP"}],
            },
        ],
        "egress": [
            NAME_SERVICE,
            {"to": [pods("berth")], "ports": [{"port": BERTH_PORT, "protocol": "TCP"}]},
            {
                "to": [pods("gate")],
                "ports": [{"port": port, "protocol": "TCP"} for port in _GATE_PORTS],
            },
            # The API server is no pod, and its address is the cluster's own secret.
            {"ports": [{"port": port, "protocol": "TCP"} for port in (443, 6443)]},
        ],
    }


_GATE_PORTS = (PUBLIC_PORT, AUTHORIZE_PORT)
