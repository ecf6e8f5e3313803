"""Gate: the pods that know the clients' keys and limits, which the controller asks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Secret, Service, ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from pulumi_berth.kubernetes.berth import HTTP_PORT as BERTH_PORT
from pulumi_berth.kubernetes.berth import NAME_SERVICE
from pulumi_berth.kubernetes.kubernetes_object import (
    NOT_AWAITED,
    PART_OF,
    in_namespace,
    labels,
    pulls_with,
    ready_within,
    restricted_pod,
    rolling,
    spread,
)

PUBLIC_PORT = 8080
AUTHORIZE_PORT = 8081
METRICS_PORT = 9090
PEER_PORT = 8082
SERVICE = "gate"
_PEERS = "gate-peers"
MARKS = {"app.kubernetes.io/name": "gate", "app.kubernetes.io/part-of": PART_OF}
_TABLE = "/etc/gate"
_LEAVING_SECONDS = 5
_GRACE_SECONDS = 30
_READY_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class GateArgs:
    """What it decides by.

    Attributes:
        namespace: of the stack.
        image: of `gateway_app`.
        table: its table as berth_gateway.table.Table describes it.
        callers: labels of the pods that ask it.
        metrics_namespace: the namespace whose pods may read its metrics.
        pull_secret: name of the Secret to pull images with; None where the nodes may.
        copies: pods, which share the clients' limits.
    """

    namespace: pulumi.Input[str]
    image: pulumi.Input[str]
    table: pulumi.Input[Mapping[str, Any]]
    callers: list[Mapping[str, str]]
    metrics_namespace: str
    pull_secret: str | None = None
    copies: int = 2


class Gate(pulumi.ComponentResource):
    """`gateway_app` in the cluster: it answers the controller whether a request may pass, and
    answers itself whatever is no inference request, as the local gateway does.

    Attributes:
        service: name of its Service.
        authorize_url: what the controller asks.
    """

    service: pulumi.Output[str]
    authorize_url: pulumi.Output[str]

    def __init__(
        self, name: str, args: GateArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:Gate", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        marks = labels("gate", name)

        def metadata() -> dict[str, Any]:
            return in_namespace(args.namespace, SERVICE, marks)

        text = pulumi.Output.from_input(args.table).apply(
            lambda table: json.dumps(table, sort_keys=True)
        )
        table = Secret(
            name,
            # Its name comes from Pulumi: a change makes a new one, and the pods that have read it
            # are ready before the old ones go.
            metadata={"namespace": args.namespace, "labels": marks},
            immutable=True,
            string_data={"table.json": text},
            opts=inside,
        )
        account = ServiceAccount(
            name,
            metadata=metadata(),
            automount_service_account_token=False,
            **pulls_with(args.pull_secret),
            opts=inside,
        )
        NetworkPolicy(name, metadata=metadata(), spec=_policy(args), opts=inside)
        service = Service(
            name,
            metadata=in_namespace(args.namespace, SERVICE, marks, NOT_AWAITED),
            spec={
                "selector": MARKS,
                "ports": [
                    {"name": "public", "port": PUBLIC_PORT, "target_port": "public"},
                    {"name": "authorize", "port": AUTHORIZE_PORT, "target_port": "authorize"},
                ],
            },
            opts=inside,
        )
        peers = Service(
            f"{name}-peers",
            metadata=in_namespace(args.namespace, _PEERS, marks, NOT_AWAITED),
            spec={
                "selector": MARKS,
                "cluster_ip": "None",
                # One that starts asks the others before it is ready itself.
                "publish_not_ready_addresses": True,
                "ports": [{"name": "peer", "port": PEER_PORT, "target_port": "peer"}],
            },
            opts=inside,
        )
        deployment = Deployment(
            name,
            metadata=metadata(),
            spec={
                "replicas": args.copies,
                "selector": {"match_labels": MARKS},
                **rolling(_READY_SECONDS),
                "template": {
                    "metadata": {"labels": marks},
                    "spec": _pod(args, account.metadata.name, table.metadata.name),
                },
            },
            opts=ready_within(_READY_SECONDS, after=[service, peers], opts=inside),
        )
        PodDisruptionBudget(
            name,
            metadata=metadata(),
            spec={"selector": {"match_labels": MARKS}, "max_unavailable": 1},
            opts=inside,
        )
        self.service = deployment.metadata.name
        self.authorize_url = pulumi.Output.concat(
            "http://", self.service, ".", args.namespace, f".svc:{AUTHORIZE_PORT}/"
        )
        self.register_outputs({"service": self.service, "authorize_url": self.authorize_url})


def _pod(args: GateArgs, account: pulumi.Input[str], table: pulumi.Input[str]) -> dict[str, Any]:
    environment = {
        "GATEWAY_HOST": "0.0.0.0",  # noqa: S104
        "GATEWAY_PORT": str(PUBLIC_PORT),
        "GATEWAY_AUTHORIZE_PORT": str(AUTHORIZE_PORT),
        "GATEWAY_ADMIN_HOST": "0.0.0.0",  # noqa: S104
        "GATEWAY_ADMIN_PORT": str(METRICS_PORT),
        "GATEWAY_TABLE": f"{_TABLE}/table.json",
        "GATEWAY_STATE_DIR": "/tmp",  # noqa: S108
        "GATEWAY_GRACE_SECONDS": str(_GRACE_SECONDS),
        "GATEWAY_PEERS": _PEERS,
        "GATEWAY_PEER_PORT": str(PEER_PORT),
    }
    amounts = {"cpu": "50m", "memory": "128Mi"}
    probe = {"period_seconds": 2, "timeout_seconds": 5, "failure_threshold": 2}
    container = {
        "name": "gate",
        "image": args.image,
        "ports": [
            {"name": "public", "container_port": PUBLIC_PORT},
            {"name": "authorize", "container_port": AUTHORIZE_PORT},
            {"name": "metrics", "container_port": METRICS_PORT},
            {"name": "peer", "container_port": PEER_PORT},
        ],
        "env": [{"name": key, "value": value} for key, value in sorted(environment.items())],
        "resources": {"requests": amounts, "limits": {"cpu": "1", "memory": "256Mi"}},
        "startup_probe": {
            "http_get": {"path": "/v2/health/live", "port": "public"},
            "period_seconds": 1,
            "failure_threshold": _READY_SECONDS,
        },
        "readiness_probe": {**probe, "http_get": {"path": "/v2/health/ready", "port": "public"}},
        "liveness_probe": {**probe, "http_get": {"path": "/v2/health/live", "port": "public"},
                           "period_seconds": 10, "failure_threshold": 6},
        "lifecycle": {"pre_stop": {"sleep": {"seconds": _LEAVING_SECONDS}}},
        "volume_mounts": [{"name": "table", "mount_path": _TABLE, "read_only": True}],
    }  # fmt: skip
    return restricted_pod(
        [container],
        service_account=account,
        termination_grace_period_seconds=_LEAVING_SECONDS + _GRACE_SECONDS + 5,
        volumes=[{"name": "table", "secret": {"secret_name": table, "default_mode": 0o440}}],
        topology_spread_constraints=spread(MARKS),
    )


def _policy(args: GateArgs) -> dict[str, Any]:
    """In from the controller, and to the metrics from their reader; out to berths and names."""
    from_controller = [{"pod_selector": {"match_labels": dict(x)}} for x in args.callers]
    scraper = {"match_labels": {"kubernetes.io/metadata.name": args.metrics_namespace}}
    berths = {"match_labels": {"app.kubernetes.io/name": "berth"}}
    gates = {"pod_selector": {"match_labels": MARKS}}
    return {
        "pod_selector": {"match_labels": MARKS},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [
            {
                "from_": from_controller,
                "ports": [
                    {"port": "public", "protocol": "TCP"},
                    {"port": "authorize", "protocol": "TCP"},
                ],
            },
            {
                "from_": [{"namespace_selector": scraper}],
                "ports": [{"port": "metrics", "protocol": "TCP"}],
            },
            {"from_": [gates], "ports": [{"port": "peer", "protocol": "TCP"}]},
        ],
        "egress": [
            NAME_SERVICE,
            {
                "to": [{"pod_selector": berths}],
                "ports": [{"port": BERTH_PORT, "protocol": "TCP"}],
            },
            {"to": [gates], "ports": [{"port": PEER_PORT, "protocol": "TCP"}]},
        ],
    }
