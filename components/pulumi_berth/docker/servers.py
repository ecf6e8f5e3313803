"""A hosting stack on several servers, whose Docker engines are nodes of one swarm.

The swarm only provides networks that reach all servers, and their name servers. Berths and gateways
are ordinary containers, as on one engine, so that an update replaces them in the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_docker import Network, Provider, Volume

from pulumi_berth.api_key import ApiKey, ClientKeys, create_client_keys
from pulumi_berth.docker.berth import TOKEN_FILE, DockerBerth, DockerBerthArgs
from pulumi_berth.docker.container_plan import HTTP_PORT, shorten_name
from pulumi_berth.docker.engine_image import EngineImage
from pulumi_berth.docker.gateway import DockerGateway, DockerGatewayArgs
from pulumi_berth.docker.hosting import (
    DEFAULT_PORT,
    DEFAULT_READY_SECONDS,
    DockerHostingArgs,
    build_labels,
    build_marks,
    declare_proxy,
)
from pulumi_berth.docker.placement import Replica
from pulumi_berth.docker.tls_proxy import DockerTlsProxy
from pulumi_berth.docker.valkey import DockerValkey, DockerValkeyArgs
from pulumi_berth.docker.volume_files import VolumeFiles
from pulumi_berth.gateway_config import declare_gateway_config
from pulumi_berth.hosted_models import (
    HostedModelArgs,
    ResourceArgs,
    find_digest,
    list_own_containers,
    resolve_clients,
)
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.kubernetes.hosting_images import HostingImages, create_images
from pulumi_berth.oci.image_store import STORE_HOST
from pulumi_berth.own_container import plan_own_container
from pulumi_berth.serving_settings import ServingSettings
from pulumi_berth.values import default_to

URL_FILE = "valkey-url"
"""File with the URL of the server that keeps limits, next to the berths' token."""


@dataclass(frozen=True, kw_only=True)
class ServersArgs:
    """The servers of a stack, and what they run.

    Attributes:
        addresses: Address of each server's engine, by name.
        manager: Server whose engine is a manager of the swarm. It also runs Valkey.
        published: Address at which each server publishes the port for clients, by name.
        is_swarm: Whether the engines are nodes of a swarm. One engine does not have to be.
        encrypted: Whether the networks between the servers are encrypted.
        replicas: Host of each replica. Their berths are named `<model>/<version>`.
        skipped: Servers that this update leaves unchanged, because they are not reachable. Nothing
            waits for them.
    """

    addresses: Mapping[str, str]
    manager: str
    published: Mapping[str, str]
    is_swarm: bool
    encrypted: bool
    replicas: Sequence[Replica]
    skipped: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class ServersParts:
    """What a stack on several servers consists of.

    Attributes:
        berths: Each replica and its berth.
        digests: Digest of each (model, version), `sha256:<hex>`.
        gateways: Gateway of each server.
        proxies: Proxy of each server that ends TLS. Empty with plain HTTP.
        images: Images that they run.
        keys: API keys of each client, by name.
    """

    berths: Sequence[tuple[Replica, DockerBerth]]
    digests: Mapping[tuple[str, str], pulumi.Input[str]]
    gateways: Mapping[str, DockerGateway]
    proxies: Mapping[str, DockerTlsProxy]
    images: HostingImages
    keys: ClientKeys


def get_host_type(name: str) -> str:
    """Return the type of the component with a server's resources: their URNs contain it."""
    return f"berth:docker/{name}:Host"


def get_alias(berth: str) -> str:
    """Return the host name that all replicas of a berth, `<model>/<version>`, have."""
    return berth.replace("/", "-").replace(".", "-")


@dataclass(frozen=True, kw_only=True)
class _Networks:
    """The networks between the servers: with the berths, with Valkey, and with each version that
    runs in a container of the user's own."""

    berths: pulumi.Output[str]
    limits: pulumi.Output[str]
    own: Mapping[tuple[str, str], pulumi.Output[str]]

    def get(self, model: str, version: str) -> pulumi.Output[str]:
        """Return the network of a version."""
        return self.own.get((model, version), self.berths)


class _Server(pulumi.ComponentResource):
    """What every server has: a network for published ports, volumes, and the gateway's image."""

    def __init__(
        self,
        name: str,
        *,
        address: str,
        prefix: str,
        labels: Mapping[str, str],
    ) -> None:
        super().__init__(get_host_type(name), f"{prefix}{name}")
        self.address = address
        self.prefix = f"{prefix}{name}-"
        self.labels = labels
        self.opts = pulumi.ResourceOptions(parent=self)
        self.provider = Provider(f"{self.prefix}engine", host=address, opts=self.opts)
        self.engine_opts = pulumi.ResourceOptions(parent=self, provider=self.provider)
        self.marks = build_marks(labels)
        self.front = Network(
            shorten_name(f"{self.prefix}front"), labels=self.marks, opts=self.engine_opts
        )

    def declare_volume(self, name: str) -> pulumi.Output[str]:
        """Declare a volume and return its name."""
        volume = Volume(
            shorten_name(f"{self.prefix}{name}"), labels=self.marks, opts=self.engine_opts
        )
        return volume.name

    def declare_files(
        self,
        name: str,
        volume: pulumi.Input[str],
        image: pulumi.Input[str],
        files: Mapping[str, pulumi.Input[str]],
        directories: Sequence[str] = (),
    ) -> VolumeFiles:
        """Declare secret files and directories in a volume."""
        return VolumeFiles(
            f"{self.prefix}{name}",
            host=self.address,
            volume=volume,
            image=image,
            files=files,
            directories=directories,
            labels=self.labels,
            is_secret=bool(files),
            opts=self.opts,
        )


def declare_servers(
    args: DockerHostingArgs,
    servers: ServersArgs,
    *,
    prefix: str,
    base: str | None = None,
    base_gpu: str | None = None,
) -> ServersParts:
    """Declare the images, the networks, the replicas, Valkey, and a gateway on each server.

    Args:
        args: What the stack hosts. Its `host` and `address` are not used.
        prefix: Prefix of the logical resource names.
        base: Base image of CPU berths and of the gateway. Defaults to Berth's recipe.
        base_gpu: Base image of GPU berths. Defaults to Berth's recipe.
    """
    images = create_images(
        args.models,
        args.images or ImageSettings(registry=STORE_HOST),
        base=base,
        base_gpu=base_gpu,
        gateway=args.gateway_image,
        has_own_valkey=True,
        engine=servers.addresses[servers.manager],
    )
    labels = build_labels(prefix)
    hosts = {
        name: _Server(name, address=address, prefix=prefix, labels=labels)
        for name, address in servers.addresses.items()
    }
    manager = hosts[servers.manager]
    networks = _declare_networks(
        manager,
        list_own_containers(args.models),
        is_shared=servers.is_swarm,
        encrypted=servers.encrypted,
    )
    valkey = DockerValkey(
        f"{manager.prefix}valkey",
        DockerValkeyArgs(
            host=manager.address,
            image=_require(images.valkey),
            network=networks.limits,
            config_volume=manager.declare_volume("valkey-config"),
            data_volume=manager.declare_volume("valkey-data"),
            labels=labels,
        ),
        pulumi.ResourceOptions(parent=manager, providers=[manager.provider]),
    )
    token = ApiKey(f"{prefix}berth_token", client="gateway").key
    clients = resolve_clients(args.clients)
    keys = create_client_keys(clients, prefix="")
    berths: list[tuple[Replica, DockerBerth]] = []
    gateway_args: dict[str, dict[str, Any]] = {}
    for name, host in hosts.items():
        image = EngineImage(
            f"{host.prefix}gateway", host=host.address, reference=images.gateway, opts=host.opts
        ).image_id
        volumes = {each: host.declare_volume(each) for each in ("token", "config", "state")}
        files = [
            host.declare_files(
                "token", volumes["token"], image, {TOKEN_FILE: token, URL_FILE: valkey.url}
            ),
            host.declare_files("state", volumes["state"], image, {}, ["gateway"]),
        ]
        # Only the gateways may read the URL of Valkey.
        berth_token = host.declare_volume("berth-token")
        berth_files = host.declare_files("berth-token", berth_token, image, {TOKEN_FILE: token})
        opts = pulumi.ResourceOptions(
            parent=host, providers=[host.provider], depends_on=[*files, berth_files]
        )
        berths += [
            (
                replica,
                _declare_berth(args, replica, host, images, networks, berth_token, image, opts),
            )
            for replica in servers.replicas
            if replica.host == name
        ]
        gateway_args[name] = {
            "host": host.address,
            "image": images.gateway,
            "image_id": image,
            "front_network": host.front.name,
            "berth_network": networks.berths,
            "limits_network": networks.limits,
            "own_networks": list(networks.own.values()),
            "token_volume": volumes["token"],
            "config_volume": volumes["config"],
            "state_volume": volumes["state"],
            "address": servers.published[name],
        }
    reachable = [each for each in berths if each[0].host not in servers.skipped]
    gateways = {
        name: DockerGateway(
            f"{hosts[name].prefix}gateway",
            DockerGatewayArgs(
                **given,
                config=_declare_config(args, keys, reachable, name),
                has_outside_access=args.jwt is not None and args.jwt.jwks_url is not None,
                port=default_to(args.port, DEFAULT_PORT),
                metrics_port=args.metrics_port,
                resources=args.gateway_resources or ResourceArgs(),
                labels=labels,
                valkey_file=URL_FILE,
                has_proxy=args.tls is not None,
                ready_seconds=default_to(args.ready_seconds, DEFAULT_READY_SECONDS),
            ),
            pulumi.ResourceOptions(parent=hosts[name], providers=[hosts[name].provider]),
            prefix=hosts[name].prefix,
        )
        for name, given in gateway_args.items()
    }
    proxies = {
        name: proxy
        for name, gateway in gateways.items()
        for proxy in (
            declare_proxy(
                args,
                gateway,
                prefix=hosts[name].prefix,
                host=hosts[name].address,
                files_image=gateway_args[name]["image_id"],
                network=hosts[name].front.name,
                address=servers.published[name],
                labels=labels,
                opts=pulumi.ResourceOptions(parent=hosts[name], providers=[hosts[name].provider]),
            ),
        )
        if proxy is not None
    }
    digests = {
        (name, version): find_digest(entry)
        for name, model in args.models.items()
        for version, entry in model.versions.items()
    }
    return ServersParts(
        berths=berths,
        digests=digests,
        gateways=gateways,
        proxies=proxies,
        images=images,
        keys=keys,
    )


def _declare_networks(
    manager: _Server,
    own: Sequence[tuple[str, str]],
    *,
    is_shared: bool,
    encrypted: bool,
) -> _Networks:
    """Declare the networks without a route to the outside.

    Args:
        own: Versions that run in containers of the user's own.
        is_shared: Whether all engines of a swarm know them.
        encrypted: Whether engines encrypt what they send each other.
    """
    # An engine adds an overlay network's ID to its options, and for that the provider would replace
    # the network. Therefore, a network with other options is another resource.
    opts = pulumi.ResourceOptions.merge(
        manager.engine_opts, pulumi.ResourceOptions(ignore_changes=["options"])
    )
    suffix = "-plain" if is_shared and not encrypted else ""

    def declare(purpose: str) -> pulumi.Output[str]:
        return Network(
            shorten_name(f"{manager.prefix}{purpose}{suffix}"),
            internal=True,
            driver="overlay" if is_shared else "bridge",
            attachable=is_shared,
            options={"encrypted": ""} if is_shared and encrypted else {},
            labels=manager.marks,
            opts=opts,
        ).name

    return _Networks(
        berths=declare("berths"),
        limits=declare("limits"),
        own={(model, version): declare(get_alias(f"{model}/{version}")) for model, version in own},
    )


def _declare_berth(
    args: DockerHostingArgs,
    replica: Replica,
    host: _Server,
    images: HostingImages,
    networks: _Networks,
    token_volume: pulumi.Input[str],
    probe_image: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> DockerBerth:
    name, _, version = replica.berth.partition("/")
    model = args.models[name]
    return DockerBerth(
        f"{host.prefix}{get_alias(replica.berth)}-{replica.number}",
        DockerBerthArgs(
            host=host.address,
            model=name,
            version=version,
            digest=find_digest(model.versions[version]),
            image=images.serving[name, version],
            network=networks.get(name, version),
            token_volume=token_volume,
            serving=model.serving or ServingSettings(),
            resources=model.resources or ResourceArgs(),
            ready_seconds=default_to(args.ready_seconds, DEFAULT_READY_SECONDS),
            labels=host.labels,
            alias=get_alias(replica.berth),
            gpus=replica.gpus,
            container=model.versions[version].container,
            probe_image=probe_image,
        ),
        opts,
    )


def _declare_config(
    args: DockerHostingArgs,
    keys: ClientKeys,
    berths: Sequence[tuple[Replica, DockerBerth]],
    host: str,
) -> pulumi.Output[dict[str, Any]]:
    """Declare the configuration of a host's gateways, known when all replicas are ready.

    It is the same on all hosts. The name servers of the engines answer with the replicas that run.
    A version without replicas has a name without an address.

    In the state, it depends only on the replicas of its own host. Otherwise, an update that skips
    another host could change and delete nothing of this one.
    """
    urls: dict[tuple[str, str], pulumi.Output[str]] = {}
    for name, model in args.models.items():
        for version in model.versions:
            berth = f"{name}/{version}"
            url = f"http://{get_alias(berth)}:{_get_port(model, name, version)}"
            ready = [
                each.url if replica.host == host else _wait_only(each.url)
                for replica, each in berths
                if replica.berth == berth
            ]
            urls[name, version] = pulumi.Output.all(url, *ready).apply(lambda known: str(known[0]))
    return declare_gateway_config(
        args.models,
        resolve_clients(args.clients),
        keys,
        urls,
        max_body_bytes=args.max_body_bytes,
        timeout_seconds=args.timeout_seconds,
        body_memory_bytes=args.body_memory_bytes,
        jwt=args.jwt,
        blocking=args.blocking,
        splits_traffic=True,
    )


def _get_port(model: HostedModelArgs, name: str, version: str) -> int:
    container = model.versions[version].container
    return HTTP_PORT if container is None else plan_own_container(container, name, version).port


def _wait_only(output: pulumi.Output[str]) -> pulumi.Output[str]:
    """Return an output that is known when `output` is, and depends on no resource in the state.

    The registration of a resource waits for it, and nothing else does: its deletion, for example.
    """
    value: Any = output.future(with_unknowns=True)
    return pulumi.Output(set(), value, output.is_known(), output.is_secret())


def _require(image: pulumi.Input[str] | None) -> pulumi.Input[str]:
    assert image is not None  # `create_images` declares it.
    return image
