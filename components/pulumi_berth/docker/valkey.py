"""Valkey on a Docker engine: the server in which the gateways of several hosts keep limits."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_docker import Container

from pulumi_berth.api_key import ApiKey
from pulumi_berth.component_args import parse_args
from pulumi_berth.docker.container_plan import (
    NO_NAME_SERVER,
    ContainerPlan,
    Mount,
    build_connect_check,
    plan_limits,
    shorten_name,
)
from pulumi_berth.docker.engine import COMPONENT_LABEL, IMAGE_LABEL
from pulumi_berth.docker.engine_image import EngineImage
from pulumi_berth.docker.ready_container import ReadyContainer
from pulumi_berth.docker.volume_files import VolumeFiles
from pulumi_berth.valkey_config import PORT, USER, build_config

_ALIAS = "valkey"
_CONFIG_DIRECTORY = "/etc/valkey"
_DATA_DIRECTORY = "/data"
_DATA = "valkey"
_READY_SECONDS = 60
_CHECK = build_connect_check(PORT)


@dataclass(frozen=True, kw_only=True)
class DockerValkeyArgs:
    """Arguments for `DockerValkey`.

    Attributes:
        host: Address of the engine.
        image: Image of the server, `registry/name@sha256:...`, or one of the store.
        network: Network that only the gateways also have.
        config_volume: Volume for the configuration with the password.
        data_volume: Volume that keeps the data.
        labels: Labels of the stack's containers.
    """

    host: str
    image: pulumi.Input[str]
    network: pulumi.Input[str]
    config_volume: pulumi.Input[str]
    data_volume: pulumi.Input[str]
    labels: Mapping[str, str]


class DockerValkey(pulumi.ComponentResource):
    """One Valkey server with a generated password, which only gateways can reach.

    The gateways continue by themselves while the server restarts, and report what they counted.

    Attributes:
        url: URL of the server with its password, a secret. Known when the server is ready.
    """

    url: pulumi.Output[str]

    def __init__(
        self, name: str, args: DockerValkeyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:docker:Valkey", name, None, opts)
        args = parse_args(DockerValkeyArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        image = EngineImage(name, host=args.host, reference=args.image, opts=child_opts)
        password = ApiKey(f"{name}-password", client=_ALIAS, opts=child_opts)
        files = [
            VolumeFiles(
                f"{name}-{purpose}",
                host=args.host,
                volume=volume,
                image=image.image_id,
                files=content,
                directories=directories,
                labels=args.labels,
                is_secret=bool(content),
                opts=child_opts,
            )
            for purpose, volume, content, directories in (
                (
                    "config",
                    args.config_volume,
                    {"valkey.conf": password.sha256.apply(lambda it: build_config(it, _PATH))},
                    [],
                ),
                ("data", args.data_volume, {}, [_DATA]),
            )
        ]
        plan = ContainerPlan(
            command=["/usr/bin/valkey-server", f"{_CONFIG_DIRECTORY}/valkey.conf"],
            mounts=[
                Mount(volume=args.config_volume, target=_CONFIG_DIRECTORY),
                Mount(volume=args.data_volume, target=_DATA_DIRECTORY, read_only=False),
            ],
            check=_CHECK,
            grace_seconds=30,
            limits=plan_limits("50m", "1", "192Mi"),
            labels={**args.labels, COMPONENT_LABEL: _ALIAS, IMAGE_LABEL: args.image},
        )
        container = Container(
            shorten_name(name),
            image=image.image_id,
            networks_advanced=[{"name": args.network, "aliases": [_ALIAS]}],
            dns=NO_NAME_SERVER,
            **plan.build_arguments(),
            # Two servers would write to the same files.
            opts=pulumi.ResourceOptions(parent=self, depends_on=files, delete_before_replace=True),
        )
        ready = ReadyContainer(
            name,
            host=args.host,
            container=container.id,
            check=_CHECK,
            seconds=_READY_SECONDS,
            opts=child_opts,
        )
        self.url = pulumi.Output.secret(
            pulumi.Output.all(password.key, ready.address).apply(
                lambda known: f"valkey://{USER}:{known[0]}@{_ALIAS}:{PORT}"
            )
        )
        self.register_outputs({"url": self.url})


_PATH = f"{_DATA_DIRECTORY}/{_DATA}"
