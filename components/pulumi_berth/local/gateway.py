"""The gateway on this machine: the entry point of a local stack, one supervised process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.component_args import parse_args
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
class LocalGatewayArgs:
    """Arguments for `LocalGateway`.

    Attributes:
        run_dir: The stack's run directory, which `Supervisor` creates.
        config: Configuration of the gateway: the fields of `berth_gateway.config.GatewayConfig`.
        berths: Process names of all declared berths. The gateway ends any other process.
        gateway_port: TCP port for clients. None selects a free port and keeps it.
        admin_port: TCP port for health and metrics. None selects a free port and keeps it.
    """

    run_dir: str
    config: pulumi.Input[Mapping[str, Any]]
    berths: Sequence[pulumi.Input[str]]
    gateway_port: int | None
    admin_port: int | None


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
        args = parse_args(LocalGatewayArgs, args)
        process = GatewayProcess(
            name,
            {
                "run_dir": args.run_dir,
                "program_digest": program_digest("berth_gateway"),
                "gateway_port": args.gateway_port,
                "admin_port": args.admin_port,
                "config": args.config,
                "berths": list(args.berths),
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.endpoint = process.endpoint
        self.metrics = process.admin_listener_port.apply(
            lambda port: f"http://{LOOPBACK}:{int(port)}/metrics"
        )
        self.register_outputs({"endpoint": self.endpoint, "metrics": self.metrics})
