"""Gateway: the pods that authenticate clients and enforce limits for the ingress controller."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Secret, Service, ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from berth_gateway.config import convert_config, encode_config
from berth_gateway.limits.valkey_address import WhenUnreachable, parse_valkey_url
from berth_protocol.paths import LIVE, READY
from pulumi_berth.component_args import parse_args
from pulumi_berth.kubernetes.berth import HTTP_PORT as BERTH_PORT
from pulumi_berth.kubernetes.berth import KIND_LABELS
from pulumi_berth.kubernetes.entry_pods import EntryPodsArgs, create_autoscaler
from pulumi_berth.kubernetes.object_names import GATEWAY, GATEWAY_LABELS, METRICS_PORT
from pulumi_berth.kubernetes.objects import (
    CONNECTION_REQUESTS,
    DNS_EGRESS,
    SKIP_AWAIT,
    add_pull_secret,
    build_labels,
    build_metadata,
    build_probe,
    build_restricted_pod,
    build_rolling_update,
    build_scrape_annotations,
    limit_ready_time,
    select_namespace,
    set_priority,
)

PUBLIC_PORT = 8080
AUTHORIZE_PORT = 8081
_CONFIG_DIRECTORY = "/etc/gateway"
_URL_FILE = "valkey-url"
_TOKEN_FILE = "token"  # noqa: S105 - the name of a file
# Traefik sends requests to the Service's own address. To the pods' addresses, it would send nothing
# from the moment at which they all end, and respond with 503 until there is a new one.
# https://doc.traefik.io/traefik/reference/install-configuration/providers/kubernetes/kubernetes-gateway/
_SERVICE_ADDRESS = {"traefik.io/service.nativelb": "true"}
_PRE_STOP_SECONDS = 5
_GRACE_SECONDS = 30
_READY_SECONDS = 120
_RESOURCES = {
    "requests": {"cpu": "50m", "memory": "128Mi"},
    "limits": {"cpu": "1", "memory": "256Mi"},
}


@dataclass(frozen=True, kw_only=True)
class SharedLimits:
    """Where the gateway's pods keep the clients' limits together.

    Attributes:
        valkey_url: URL of a Valkey server, see `berth_gateway.limits.valkey_address`. A secret.
        prefix: First part of the keys. It differs between stacks that use the same server.
        pods: Labels of the server's pods. None if the server is outside the namespace.
        when_unreachable: What a gateway does while it cannot reach the server. Defaults to
            `own-limits`.
    """

    valkey_url: pulumi.Input[str]
    prefix: str
    pods: Mapping[str, str] | None = None
    when_unreachable: WhenUnreachable | None = None


@dataclass(frozen=True, kw_only=True)
class GatewayArgs:
    """Arguments for `Gateway`.

    Attributes:
        namespace: Namespace of the stack.
        image: Image of the gateway program.
        config: Configuration of the gateway: the fields of `berth_gateway.config.GatewayConfig`.
        token: Token that the berths require, a secret.
        limits: Where the pods keep the clients' limits.
        callers: NetworkPolicy peers that may send requests to the gateway.
        metrics_namespace: Namespace whose pods may read the metrics.
        has_authorizer: Whether an ingress controller asks the gateway to authorize requests that
            it forwards itself. Defaults to true.
        jwks_url: URL of the token issuer's keys, which the pods may read. None if there is none.
        pull_secret: Secret with which the nodes pull images. None if the nodes can pull images
            without a Secret.
        priority: PriorityClass of the pods. Defaults to the cluster's default.
        pods: Number, resources and spread of the pods. Defaults to those of `EntryPodsArgs`.
        container_ports: Ports of the user's own containers. Defaults to none.
    """

    namespace: pulumi.Input[str]
    image: pulumi.Input[str]
    config: pulumi.Input[Mapping[str, Any]]
    token: pulumi.Input[str]
    limits: SharedLimits
    callers: Sequence[Mapping[str, str]]
    metrics_namespace: pulumi.Input[str]
    has_authorizer: bool | None = None
    jwks_url: str | None = None
    pull_secret: pulumi.Input[str] | None = None
    priority: pulumi.Input[str] | None = None
    pods: EntryPodsArgs | None = None
    container_ports: Sequence[int] | None = None


class Gateway(pulumi.ComponentResource):
    """Berth's gateway in a cluster.

    The ingress controller calls it to authorize each inference request. It responds to all other
    requests itself, as the local gateway does.

    Attributes:
        service: Name of the Service.
        authorize_url: URL that the ingress controller calls for external authorization.
    """

    service: pulumi.Output[str]
    authorize_url: pulumi.Output[str]

    def __init__(
        self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:Gateway", name, None, opts)
        args = parse_args(GatewayArgs, args)
        pods = args.pods or EntryPodsArgs()
        child_opts = pulumi.ResourceOptions(parent=self)
        labels = build_labels("gateway", name)
        metadata = build_metadata(args.namespace, GATEWAY, labels)
        config_json = pulumi.Output.from_input(args.config).apply(
            lambda config: encode_config(convert_config(config)).decode()
        )
        config = Secret(
            name,
            # Pulumi generates the name. A change creates a new Secret, and the pods that read it
            # are ready before the old pods and the old Secret are deleted.
            metadata={"namespace": args.namespace, "labels": labels},
            immutable=True,
            string_data={
                "gateway.json": config_json,
                _URL_FILE: args.limits.valkey_url,
                _TOKEN_FILE: args.token,
            },
            opts=child_opts,
        )
        account = ServiceAccount(
            name,
            metadata=metadata,
            automount_service_account_token=False,
            **add_pull_secret(args.pull_secret),
            opts=child_opts,
        )
        NetworkPolicy(name, metadata=metadata, spec=_build_policy(args), opts=child_opts)
        service = Service(
            name,
            metadata=build_metadata(
                args.namespace, GATEWAY, labels, {**SKIP_AWAIT, **_SERVICE_ADDRESS}
            ),
            spec={
                "selector": GATEWAY_LABELS,
                "ports": [
                    {"name": name, "port": port, "target_port": name}
                    for name, port in _list_ports(args).items()
                ],
            },
            opts=child_opts,
        )
        deployment = Deployment(
            name,
            metadata=build_metadata(args.namespace, GATEWAY, labels, pods.annotations),
            spec={
                "replicas": pods.min_replicas,
                "selector": {"match_labels": GATEWAY_LABELS},
                **build_rolling_update(_READY_SECONDS),
                "template": {
                    "metadata": {
                        "labels": labels,
                        "annotations": build_scrape_annotations(METRICS_PORT),
                    },
                    "spec": _build_pod(args, account.metadata.name, config.metadata.name),
                },
            },
            opts=pulumi.ResourceOptions.merge(
                limit_ready_time(_READY_SECONDS, after=[service], opts=child_opts),
                pods.options,
            ),
        )
        create_autoscaler(name, pods, metadata, deployment, child_opts)
        PodDisruptionBudget(
            name,
            metadata=metadata,
            spec={"selector": {"match_labels": GATEWAY_LABELS}, "max_unavailable": 1},
            opts=child_opts,
        )
        self.service = deployment.metadata.name
        self.authorize_url = pulumi.Output.concat(
            "http://", self.service, ".", args.namespace, f".svc:{AUTHORIZE_PORT}/"
        )
        self.register_outputs({"service": self.service, "authorize_url": self.authorize_url})


def _build_pod(
    args: GatewayArgs, account: pulumi.Input[str], config_secret: pulumi.Input[str]
) -> dict[str, Any]:
    environment = {
        "GATEWAY_HOST": "0.0.0.0",  # noqa: S104
        "GATEWAY_PORT": str(PUBLIC_PORT),
        **(
            {"GATEWAY_AUTHORIZE_PORT": str(AUTHORIZE_PORT)}
            if args.has_authorizer is not False
            else {}
        ),
        "GATEWAY_CONNECTION_REQUESTS": str(CONNECTION_REQUESTS),
        # The network policy admits only the ingress controller, which appends the client's address.
        "GATEWAY_TRUST_FORWARDED_FOR": "1",
        "GATEWAY_ADMIN_HOST": "0.0.0.0",  # noqa: S104
        "GATEWAY_ADMIN_PORT": str(METRICS_PORT),
        "GATEWAY_TOKEN_FILE": f"{_CONFIG_DIRECTORY}/{_TOKEN_FILE}",
        "GATEWAY_CONFIG": f"{_CONFIG_DIRECTORY}/gateway.json",
        "GATEWAY_STATE_DIR": "/tmp",  # noqa: S108
        "GATEWAY_GRACE_SECONDS": str(_GRACE_SECONDS),
        "GATEWAY_VALKEY_URL_FILE": f"{_CONFIG_DIRECTORY}/{_URL_FILE}",
        "GATEWAY_VALKEY_PREFIX": args.limits.prefix,
        "GATEWAY_VALKEY_UNREACHABLE": args.limits.when_unreachable or "own-limits",
    }
    container = {
        "name": "gateway",
        "image": args.image,
        "ports": [
            {"name": name, "container_port": port}
            for name, port in {**_list_ports(args), "metrics": METRICS_PORT}.items()
        ],
        "env": [{"name": key, "value": value} for key, value in sorted(environment.items())],
        "resources": (args.pods or EntryPodsArgs()).build_resources(_RESOURCES),
        "startup_probe": build_probe(LIVE, "public", period=1, failures=_READY_SECONDS),
        "readiness_probe": build_probe(READY, "public", period=2, failures=2),
        "liveness_probe": build_probe(LIVE, "public", period=10, failures=6),
        "lifecycle": {"pre_stop": {"sleep": {"seconds": _PRE_STOP_SECONDS}}},
        "volume_mounts": [{"name": "config", "mount_path": _CONFIG_DIRECTORY, "read_only": True}],
    }
    return build_restricted_pod(
        [container],
        service_account=account,
        **set_priority(args.priority),
        termination_grace_period_seconds=_PRE_STOP_SECONDS + _GRACE_SECONDS + 5,
        volumes=[
            {"name": "config", "secret": {"secret_name": config_secret, "default_mode": 0o440}}
        ],
        topology_spread_constraints=(args.pods or EntryPodsArgs()).build_spread(GATEWAY_LABELS),
    )


def _list_ports(args: GatewayArgs) -> dict[str, int]:
    """Return the ports for requests by name."""
    return {
        "public": PUBLIC_PORT,
        **({"authorize": AUTHORIZE_PORT} if args.has_authorizer is not False else {}),
    }


def _build_policy(args: GatewayArgs) -> dict[str, Any]:
    """Allow requests from the callers, scrapes, and requests to berths, Valkey, issuer and DNS."""
    berths = {"pod_selector": {"match_labels": KIND_LABELS}}
    limits = args.limits
    # Sorted, so that the order of the models never changes the policy.
    berth_ports = sorted({BERTH_PORT, *(args.container_ports or ())})
    valkey_port = pulumi.Output.unsecret(
        pulumi.Output.from_input(limits.valkey_url).apply(lambda url: parse_valkey_url(url).port)
    )
    servers = [{"pod_selector": {"match_labels": dict(limits.pods)}}] if limits.pods else None
    return {
        "pod_selector": {"match_labels": GATEWAY_LABELS},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [
            {
                "from_": [dict(caller) for caller in args.callers],
                "ports": [{"port": name, "protocol": "TCP"} for name in _list_ports(args)],
            },
            {
                "from_": [select_namespace(args.metrics_namespace)],
                "ports": [{"port": "metrics", "protocol": "TCP"}],
            },
        ],
        "egress": [
            DNS_EGRESS,
            {
                "to": [berths],
                "ports": [{"port": port, "protocol": "TCP"} for port in berth_ports],
            },
            {
                **({"to": servers} if servers else {}),
                "ports": [{"port": valkey_port, "protocol": "TCP"}],
            },
            *_allow_jwks(args.jwks_url),
        ],
    }


def _allow_jwks(url: str | None) -> list[dict[str, Any]]:
    if url is None:
        return []
    # A network policy cannot name a host outside the cluster.
    return [{"ports": [{"port": urlsplit(url).port or 443, "protocol": "TCP"}]}]
