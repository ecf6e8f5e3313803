"""The gateway on this machine: the entry point of a local stack, one supervised process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.local.loopback import LOOPBACK
from pulumi_berth.program_source import program_digest
from pulumi_berth.providers import GatewayProvider


class GatewayProcess(Resource, module="berth", name="GatewayProcess"):
    """The gateway's process and its configuration.

    The gateway reloads changed clients, limits, routes and weights. No connection is dropped.
    """

    endpoint: pulumi.Output[str]
    admin_listener_port: pulumi.Output[int]

    def __init__(
        self, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        outputs = dict.fromkeys(
            ("gateway_listener_port", "admin_listener_port", "endpoint", "running")
        )
        super().__init__(GatewayProvider(), name, {**inputs, **outputs}, opts)


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client and its limits.

    Attributes:
        key_sha256: SHA-256 of the client's API key, in hex.
        rate_per_second: Steady rate limit, in requests per second.
        burst: Capacity of the token bucket, in requests.
        quota_requests: Requests per period. Defaults to no quota.
        quota_period: Calendar hour, day, week or month (UTC).
    """

    key_sha256: pulumi.Input[str]
    rate_per_second: float
    burst: int
    quota_requests: int | None = None
    quota_period: str | None = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """The versions of one model and their traffic.

    Attributes:
        versions: Version -> URL of its berth.
        exposed: Versions that clients can call by name.
        traffic: Version -> percentage of the requests that name no version. The sum is 100.
        shadow: Version that receives mirrored requests. Its responses are discarded.
    """

    versions: Mapping[str, pulumi.Input[str]]
    exposed: Sequence[str]
    traffic: Mapping[str, int]
    shadow: str | None = None


@dataclass(frozen=True, kw_only=True)
class LocalGatewayArgs:
    """Arguments for `LocalGateway`.

    Attributes:
        run_dir: The stack's run directory, which `Supervisor` creates.
        clients: Clients by name.
        routes: Routes by model.
        berths: Process names of all declared berths. The gateway ends any other process.
        gateway_port: TCP port for clients. None selects a free port and keeps it.
        admin_port: TCP port for health and metrics. None selects a free port and keeps it.
        max_body_bytes: Maximum size of a request body. A larger request gets 413.
        timeout_seconds: Time limit for a berth's response. A slower response becomes 504.
    """

    run_dir: Path
    clients: Mapping[str, Client]
    routes: Mapping[str, Route]
    berths: Sequence[pulumi.Input[str]]
    gateway_port: int | None
    admin_port: int | None
    max_body_bytes: int
    timeout_seconds: float


class LocalGateway(pulumi.ComponentResource):
    """The gateway in front of the berths: API keys, rate limits, quotas, traffic and metrics.

    Attributes:
        endpoint: Base URL for clients.
        metrics: URL of the gateway's Prometheus metrics, reachable only from this machine.
    """

    endpoint: pulumi.Output[str]
    metrics: pulumi.Output[str]

    def __init__(
        self, name: str, args: LocalGatewayArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:local:Gateway", name, None, opts)
        process = GatewayProcess(
            name,
            {
                "run_dir": str(args.run_dir),
                "program_digest": program_digest("berth_gateway"),
                "gateway_port": args.gateway_port,
                "admin_port": args.admin_port,
                "limits": {
                    "max_body_bytes": args.max_body_bytes,
                    "timeout_seconds": args.timeout_seconds,
                },
                "clients": [_client(name, client) for name, client in args.clients.items()],
                "models": {model: _route(route) for model, route in args.routes.items()},
                "berths": list(args.berths),
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.endpoint = process.endpoint
        self.metrics = process.admin_listener_port.apply(
            lambda port: f"http://{LOOPBACK}:{int(port)}/metrics"
        )
        self.register_outputs({"endpoint": self.endpoint, "metrics": self.metrics})


def _client(name: str, client: Client) -> dict[str, Any]:
    quota = None
    if client.quota_requests is not None:
        quota = {"requests": client.quota_requests, "period": client.quota_period}
    return {
        "name": name,
        "key_sha256": [client.key_sha256],
        "rate_per_second": client.rate_per_second,
        "burst": client.burst,
        "quota": quota,
    }


def _route(route: Route) -> dict[str, Any]:
    return {
        "versions": dict(route.versions),
        "exposed": list(route.exposed),
        "traffic": dict(route.traffic),
        "shadow": route.shadow,
    }
