"""The gateway on a Docker engine: the entry point of a stack."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_docker import Container

from berth_gateway.config import convert_config, encode_config
from pulumi_berth.component_args import parse_args
from pulumi_berth.docker.berth import TOKEN_FILE
from pulumi_berth.docker.container_plan import (
    ADMIN_PORT,
    CONFIG_DIRECTORY,
    ENTRY_CHECK,
    ENTRY_SOCKET,
    GATEWAY_CHECK,
    HOLDING_CHECK,
    HTTP_PORT,
    LIMITS,
    NO_NAME_SERVER,
    PREPARED_FILE,
    STATE_DIRECTORY,
    TOKEN_DIRECTORY,
    ContainerPlan,
    Mount,
    plan_limits,
    shorten_name,
)
from pulumi_berth.docker.engine import COMPONENT_LABEL, HOSTING_LABEL, IMAGE_LABEL
from pulumi_berth.docker.gateway_turn import GATEWAY, GatewayTurn
from pulumi_berth.docker.ready_container import ReadyContainer
from pulumi_berth.docker.volume_files import VolumeFiles
from pulumi_berth.hosted_models import ResourceArgs
from pulumi_berth.program_source import program_digest

ENTRY = "entry"
"""Component of the container that holds the listening sockets."""
GATEWAY_NAMES = ("gateway", "gateway-2")
"""Either can be the one that serves. The other continues when it ends."""
_GRACE_SECONDS = 30.0
_WATCH_SECONDS = 1
_DEFAULT_LIMITS = {"cpu": "50m", "cpu_limit": "1", "memory": "256Mi"}
_ENTRY_LIMITS = plan_limits("50m", "500m", "64Mi")


@dataclass(frozen=True, kw_only=True)
class DockerGatewayArgs:
    """Arguments for `DockerGateway`.

    Attributes:
        host: Address of the engine.
        image: Gateway image, `registry/name@sha256:...`, or one of the store.
        image_id: ID of that image in the engine.
        config: Configuration of the gateway: the fields of `berth_gateway.config.GatewayConfig`.
        front_network: Network of the published ports.
        berth_network: Network of the berths.
        own_networks: Networks of the user's own containers.
        has_outside_access: Whether the gateways can reach hosts outside the engine, such as the
            issuer of tokens.
        token_volume: Volume with the token that the berths require.
        config_volume: Volume for the configuration.
        state_volume: Volume for the quotas' counters and the entry's socket.
        address: Address at which the ports are published.
        port: Published port for clients.
        metrics_port: Port on 127.0.0.1 for the metrics. None publishes none.
        resources: Resources of each gateway.
        ready_seconds: Time limit for new gateways to become ready.
        labels: Labels of the stack's containers.
        limits_network: Network of the server that keeps the limits of several gateways.
        valkey_file: File in the token's volume with the URL of that server. None if the gateway
            keeps its limits itself.
        has_proxy: Whether only a proxy in `front_network` sends requests. The entry then publishes
            no port for clients, and the gateway reads their addresses from X-Forwarded-For.
    """

    host: str
    image: pulumi.Input[str]
    image_id: pulumi.Input[str]
    config: pulumi.Input[Mapping[str, Any]]
    front_network: pulumi.Input[str]
    berth_network: pulumi.Input[str]
    has_outside_access: bool
    token_volume: pulumi.Input[str]
    config_volume: pulumi.Input[str]
    state_volume: pulumi.Input[str]
    address: str
    port: int
    metrics_port: int | None
    resources: ResourceArgs
    ready_seconds: float
    labels: Mapping[str, str]
    limits_network: pulumi.Input[str] | None = None
    valkey_file: str | None = None
    own_networks: Sequence[pulumi.Input[str]] = ()
    has_proxy: bool = False


class DockerGateway(pulumi.ComponentResource):
    """The gateway in front of the berths: API keys, rate limits, quotas, traffic and metrics.

    The container `entry` holds the listening sockets and passes them to two gateways. One serves,
    the other continues when it ends. New gateways take over in the same way, so replacing them
    refuses no connection.

    Attributes:
        entry: ID of the container with the published ports.
        gateways: IDs of the gateways' containers, by name.
        address: Host name of the entry, known when a gateway serves.
    """

    entry: pulumi.Output[str]
    gateways: dict[str, pulumi.Output[str]]
    address: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        args: DockerGatewayArgs,
        opts: pulumi.ResourceOptions | None = None,
        *,
        prefix: str,
    ) -> None:
        super().__init__("berth:docker:Gateway", name, None, opts)
        args = parse_args(DockerGatewayArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        config = pulumi.Output.from_input(args.config).apply(
            lambda content: encode_config(convert_config(content)).decode()
        )
        # Gateways of another version of the program keep the file that they understand.
        file = f"gateway-{program_digest('berth_gateway').removeprefix('sha256:')[:8]}.json"
        files = VolumeFiles(
            f"{name}-config",
            host=args.host,
            volume=args.config_volume,
            image=args.image_id,
            files={file: config},
            labels=args.labels,
            opts=child_opts,
        )
        entry = self._declare_entry(shorten_name(f"{prefix}{ENTRY}"), args, child_opts)
        ready_entry = ReadyContainer(
            f"{prefix}{ENTRY}",
            host=args.host,
            container=entry.id,
            check=HOLDING_CHECK,
            seconds=args.ready_seconds,
            opts=child_opts,
        )
        after = pulumi.ResourceOptions.merge(
            child_opts, pulumi.ResourceOptions(depends_on=[files, ready_entry])
        )
        containers = {
            each: _declare_gateway(shorten_name(f"{prefix}{each}"), args, file, after)
            for each in GATEWAY_NAMES
        }
        ready = {
            each: ReadyContainer(
                f"{prefix}{each}",
                host=args.host,
                container=container.id,
                check=GATEWAY_CHECK,
                seconds=args.ready_seconds,
                opts=child_opts,
            )
            for each, container in containers.items()
        }
        turn = GatewayTurn(
            name,
            host=args.host,
            hosting=args.labels[HOSTING_LABEL],
            entry=entry.id,
            gateways=[container.id for container in containers.values()],
            config_sha256=config.apply(lambda text: hashlib.sha256(text.encode()).hexdigest()),
            seconds=args.ready_seconds,
            opts=pulumi.ResourceOptions.merge(
                child_opts, pulumi.ResourceOptions(depends_on=[files, *ready.values()])
            ),
        )
        self.entry = entry.id
        self.gateways = {each: container.id for each, container in containers.items()}
        self.address = turn.address
        self.register_outputs({"entry": self.entry, "address": self.address})

    @staticmethod
    def _declare_entry(
        name: str, args: DockerGatewayArgs, opts: pulumi.ResourceOptions
    ) -> Container:
        ports: list[Any] = []
        if not args.has_proxy:
            ports.append({"internal": HTTP_PORT, "external": args.port, "ip": args.address})
        if args.metrics_port is not None:
            ports.append({"internal": ADMIN_PORT, "external": args.metrics_port, "ip": "127.0.0.1"})
        plan = ContainerPlan(
            command=["/usr/bin/python3", "-m", "berth_gateway.entry"],
            environment={
                "ENTRY_PORTS": f"{HTTP_PORT},{ADMIN_PORT}",
                "ENTRY_SOCKET": ENTRY_SOCKET,
            },
            mounts=[Mount(volume=args.state_volume, target=STATE_DIRECTORY, read_only=False)],
            check=ENTRY_CHECK,
            limits=_ENTRY_LIMITS,
            labels={**args.labels, COMPONENT_LABEL: ENTRY},
            tmp_mib=1,
        )
        return Container(
            name,
            image=args.image_id,
            networks_advanced=[{"name": args.front_network}],
            dns=NO_NAME_SERVER,
            ports=ports or None,
            **plan.build_arguments(),
            opts=pulumi.ResourceOptions.merge(
                opts,
                # A published port cannot belong to two containers. A new image of the gateway does
                # not replace the entry, which reads nothing from clients.
                pulumi.ResourceOptions(delete_before_replace=True, ignore_changes=["image"]),
            ),
        )


def _declare_gateway(
    name: str, args: DockerGatewayArgs, file: str, opts: pulumi.ResourceOptions
) -> Container:
    resources = args.resources
    limits = pulumi.Output.all(
        cpu=resources.cpu or _DEFAULT_LIMITS["cpu"],
        cpu_limit=resources.cpu_limit or _DEFAULT_LIMITS["cpu_limit"],
        memory=resources.memory or _DEFAULT_LIMITS["memory"],
    ).apply(lambda given: plan_limits(**given))
    networks = [
        args.berth_network,
        *args.own_networks,
        *([args.front_network] if args.has_outside_access else []),
        *([args.limits_network] if args.limits_network is not None else []),
    ]
    plan = ContainerPlan(
        environment={
            "GATEWAY_HOST": "0.0.0.0",  # noqa: S104
            "GATEWAY_PORT": str(HTTP_PORT),
            "GATEWAY_ADMIN_HOST": "0.0.0.0",  # noqa: S104
            "GATEWAY_ADMIN_PORT": str(ADMIN_PORT),
            "GATEWAY_CONFIG": f"{CONFIG_DIRECTORY}/{file}",
            "GATEWAY_TOKEN_FILE": f"{TOKEN_DIRECTORY}/{TOKEN_FILE}",
            "GATEWAY_STATE_DIR": f"{STATE_DIRECTORY}/gateway",
            "GATEWAY_ENTRY": ENTRY_SOCKET,
            "GATEWAY_PREPARED_FILE": PREPARED_FILE,
            "GATEWAY_GRACE_SECONDS": f"{_GRACE_SECONDS:g}",
            "GATEWAY_WATCH_SECONDS": str(_WATCH_SECONDS),
            **({"GATEWAY_TRUST_FORWARDED_FOR": "1"} if args.has_proxy else {}),
            **(
                {"GATEWAY_VALKEY_URL_FILE": f"{TOKEN_DIRECTORY}/{args.valkey_file}"}
                if args.valkey_file is not None
                else {}
            ),
        },
        mounts=[
            Mount(volume=args.token_volume, target=TOKEN_DIRECTORY),
            Mount(volume=args.config_volume, target=CONFIG_DIRECTORY),
            Mount(volume=args.state_volume, target=STATE_DIRECTORY, read_only=False),
        ],
        check=GATEWAY_CHECK,
        grace_seconds=_GRACE_SECONDS,
        limits={key: limits[key] for key in LIMITS},
        labels={**args.labels, COMPONENT_LABEL: GATEWAY, IMAGE_LABEL: args.image},
    )
    return Container(
        name,
        image=args.image_id,
        networks_advanced=[{"name": network} for network in networks],
        dns=None if args.has_outside_access else NO_NAME_SERVER,
        **plan.build_arguments(),
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(delete_before_replace=False)
        ),
    )
