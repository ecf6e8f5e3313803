"""One Docker engine of a hosting stack: its provider, networks, volumes, files and containers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_docker import Network, Provider, Volume

from pulumi_berth.docker.berth import TOKEN_FILE, DockerBerth, DockerBerthArgs
from pulumi_berth.docker.container_plan import shorten_name
from pulumi_berth.docker.engine import HOSTING_LABEL, STACK_LABEL
from pulumi_berth.docker.engine_image import EngineImage
from pulumi_berth.docker.gateway import DockerGateway, DockerGatewayArgs
from pulumi_berth.docker.hosting_args import DEFAULT_PORT, DEFAULT_READY_SECONDS, DockerHostingArgs
from pulumi_berth.docker.tls_plan import PROXY
from pulumi_berth.docker.tls_proxy import DockerTlsProxy, DockerTlsProxyArgs
from pulumi_berth.docker.volume_files import VolumeFiles
from pulumi_berth.hosted_models import ResourceArgs, find_digest
from pulumi_berth.serving_settings import ServingSettings
from pulumi_berth.values import default_to

URL_FILE = "valkey-url"
"""File with the URL of the server that keeps limits, next to the berths' token."""


def build_labels(prefix: str) -> dict[str, str]:
    """Return the labels of everything that a hosting stack has in an engine.

    Args:
        prefix: Prefix of the stack's logical resource names.
    """
    stack = pulumi.get_stack()
    return {
        STACK_LABEL: stack,
        HOSTING_LABEL: f"{pulumi.get_project()}/{stack}/{prefix.rstrip('-')}",
    }


@dataclass(frozen=True, kw_only=True)
class BerthNetworks:
    """Networks without a route to the outside.

    Attributes:
        berths: Network of the berths.
        own: Network of each (model, version) that runs in a container of the user's own.
        limits: Network of the server that keeps the limits of several gateways. None without it.
    """

    berths: pulumi.Output[str]
    own: Mapping[tuple[str, str], pulumi.Output[str]]
    limits: pulumi.Output[str] | None = None

    def get(self, model: str, version: str) -> pulumi.Output[str]:
        """Return the network of a version."""
        return self.own.get((model, version), self.berths)


@dataclass(frozen=True, kw_only=True)
class HostStorage:
    """What the containers of an engine read and write.

    Attributes:
        image: Gateway image, `registry/name@sha256:...`, or one of the store.
        image_id: ID of that image in the engine.
        token: Volume with the token that the berths require and, for the gateways only, the URL of
            the server that keeps limits.
        berth_token: Volume with the token for berths.
        config: Volume for the gateway's configuration.
        state: Volume for the quotas' counters and the entry's socket.
        has_url: Whether `token` contains the URL of the server that keeps limits.
        files: Files that containers need when they start.
    """

    image: pulumi.Input[str]
    image_id: pulumi.Output[str]
    token: pulumi.Output[str]
    berth_token: pulumi.Output[str]
    config: pulumi.Output[str]
    state: pulumi.Output[str]
    has_url: bool
    files: Sequence[VolumeFiles]


class DockerHost:
    """One engine of a hosting stack, and the functions that declare what runs there.

    Attributes:
        address: Address of the engine.
        prefix: Prefix of the logical resource names on this engine.
        opts: Options of the resources that are not in the engine.
        part_opts: Options of the components with containers.
        front: Network of the published ports.
    """

    def __init__(
        self,
        args: DockerHostingArgs,
        *,
        address: str,
        published: str,
        prefix: str,
        labels: Mapping[str, str],
        opts: pulumi.ResourceOptions | None,
    ) -> None:
        """Declare the provider and the network of the published ports.

        Args:
            address: Address of the engine.
            published: Address at which the engine's machine publishes the port for clients.
            labels: Labels of everything in the engine.
        """
        self._args = args
        self._published = published
        self._labels = labels
        # The form that networks and volumes have.
        self._label_list: list[Any] = [
            {"label": key, "value": value} for key, value in sorted(labels.items())
        ]
        self.address = address
        self.prefix = prefix
        self.opts = opts
        provider = Provider(f"{prefix}engine", host=address, opts=opts)
        self._engine_opts = pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(provider=provider)
        )
        self.part_opts = pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(providers=[provider])
        )
        self.front = self.declare_network("front")

    def declare_network(
        self, purpose: str, opts: pulumi.ResourceOptions | None = None, **settings: Any
    ) -> pulumi.Output[str]:
        """Declare a network and return its name."""
        return Network(
            shorten_name(f"{self.prefix}{purpose}"),
            labels=self._label_list,
            opts=pulumi.ResourceOptions.merge(self._engine_opts, opts),
            **settings,
        ).name

    def declare_volume(self, purpose: str) -> pulumi.Output[str]:
        """Declare a volume and return its name."""
        return Volume(
            shorten_name(f"{self.prefix}{purpose}"),
            labels=self._label_list,
            opts=self._engine_opts,
        ).name

    def declare_storage(
        self,
        image: pulumi.Input[str],
        token: pulumi.Input[str],
        valkey_url: pulumi.Input[str] | None = None,
    ) -> HostStorage:
        """Declare the gateway's image in the engine, and the volumes with their files.

        Args:
            image: Gateway image, `registry/name@sha256:...`, or one of the store.
            token: Token that the berths require.
            valkey_url: URL of the server that keeps limits, with its password. None without one.
        """
        image_id = EngineImage(
            f"{self.prefix}gateway", host=self.address, reference=image, opts=self.opts
        ).image_id
        volumes = {name: self.declare_volume(name) for name in ("token", "config", "state")}
        secrets = {TOKEN_FILE: token} | ({} if valkey_url is None else {URL_FILE: valkey_url})
        files = [
            self._declare_files("token", volumes["token"], image_id, secrets),
            self._declare_files("state", volumes["state"], image_id, {}, ["gateway"]),
        ]
        berth_token = volumes["token"]
        if valkey_url is not None:
            # Only the gateways may read the URL.
            berth_token = self.declare_volume("berth-token")
            files.append(
                self._declare_files("berth-token", berth_token, image_id, {TOKEN_FILE: token})
            )
        return HostStorage(
            image=image,
            image_id=image_id,
            berth_token=berth_token,
            has_url=valkey_url is not None,
            files=files,
            **volumes,
        )

    def declare_berth(
        self,
        name: str,
        model: str,
        version: str,
        *,
        storage: HostStorage,
        image: pulumi.Input[str],
        network: pulumi.Input[str],
        alias: str | None = None,
        gpus: Sequence[int] = (),
    ) -> DockerBerth:
        """Declare a berth of a model's version.

        Args:
            image: Serving image.
            network: Network in which the gateways reach it.
            alias: Host name that all replicas of the berth have. None for a single one.
            gpus: Indexes of the engine's GPUs that the berth uses. Defaults to all.
        """
        hosted = self._args.models[model]
        entry = hosted.versions[version]
        return DockerBerth(
            f"{self.prefix}{name}",
            DockerBerthArgs(
                host=self.address,
                model=model,
                version=version,
                digest=find_digest(entry),
                image=image,
                network=network,
                token_volume=storage.berth_token,
                serving=hosted.serving or ServingSettings(),
                resources=hosted.resources or ResourceArgs(),
                ready_seconds=self._ready_seconds,
                labels=self._labels,
                alias=alias,
                gpus=gpus,
                container=entry.container,
                probe_image=storage.image_id,
            ),
            self._use_storage(storage),
        )

    def declare_gateway(
        self,
        config: pulumi.Input[Mapping[str, Any]],
        *,
        storage: HostStorage,
        networks: BerthNetworks,
    ) -> tuple[DockerGateway, DockerTlsProxy | None]:
        """Declare the gateway and, with TLS, the proxy in front of it."""
        args = self._args
        gateway = DockerGateway(
            f"{self.prefix}gateway",
            DockerGatewayArgs(
                host=self.address,
                image=storage.image,
                image_id=storage.image_id,
                config=config,
                front_network=self.front,
                berth_network=networks.berths,
                limits_network=networks.limits,
                own_networks=list(networks.own.values()),
                has_outside_access=args.jwt is not None and args.jwt.jwks_url is not None,
                token_volume=storage.token,
                config_volume=storage.config,
                state_volume=storage.state,
                address=self._published,
                port=default_to(args.port, DEFAULT_PORT),
                metrics_port=args.metrics_port,
                resources=args.gateway_resources or ResourceArgs(),
                ready_seconds=self._ready_seconds,
                labels=self._labels,
                valkey_file=URL_FILE if storage.has_url else None,
                has_proxy=args.tls is not None,
            ),
            self._use_storage(storage),
            prefix=self.prefix,
        )
        if args.tls is None:
            return gateway, None
        proxy = DockerTlsProxy(
            f"{self.prefix}{PROXY}",
            DockerTlsProxyArgs(
                host=self.address,
                tls=args.tls,
                files_image=storage.image_id,
                entry=gateway.entry,
                gateway=gateway.address,
                network=self.front,
                address=self._published,
                timeout_seconds=args.timeout_seconds,
                ready_seconds=self._ready_seconds,
                labels=self._labels,
            ),
            self.part_opts,
        )
        return gateway, proxy

    @property
    def _ready_seconds(self) -> int:
        return default_to(self._args.ready_seconds, DEFAULT_READY_SECONDS)

    def _use_storage(self, storage: HostStorage) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions.merge(
            self.part_opts, pulumi.ResourceOptions(depends_on=[*storage.files])
        )

    def _declare_files(
        self,
        name: str,
        volume: pulumi.Input[str],
        image_id: pulumi.Input[str],
        files: Mapping[str, pulumi.Input[str]],
        directories: Sequence[str] = (),
    ) -> VolumeFiles:
        """Declare secret files, and directories that programs may write to, in a volume."""
        return VolumeFiles(
            f"{self.prefix}{name}",
            host=self.address,
            volume=volume,
            image=image_id,
            files=files,
            directories=directories,
            labels=self._labels,
            is_secret=bool(files),
            opts=self.opts,
        )
