"""A hosting stack on several servers, whose Docker engines are nodes of one swarm.

The swarm only provides networks that reach all servers, and their name servers. Berths and gateways
are ordinary containers, as on one engine, so that an update replaces them in the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from pulumi_berth.api_key import ApiKey, ClientKeys, create_client_keys
from pulumi_berth.docker.berth import DockerBerth
from pulumi_berth.docker.container_plan import HTTP_PORT
from pulumi_berth.docker.gateway import DockerGateway
from pulumi_berth.docker.host import BerthNetworks, DockerHost, HostStorage, build_labels
from pulumi_berth.docker.hosting import declare_config
from pulumi_berth.docker.hosting_args import DockerHostingArgs
from pulumi_berth.docker.placement import Replica
from pulumi_berth.docker.tls_proxy import DockerTlsProxy
from pulumi_berth.docker.valkey import DockerValkey, DockerValkeyArgs
from pulumi_berth.hosted_models import (
    HostedModelArgs,
    find_digest,
    list_own_containers,
    resolve_clients,
)
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.images.hosting_images import HostingImages, create_images
from pulumi_berth.oci.image_store import STORE_HOST
from pulumi_berth.own_container import plan_own_container

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


class _Server(pulumi.ComponentResource):
    """The parent of a server's resources."""

    def __init__(self, name: str, prefix: str) -> None:
        super().__init__(get_host_type(name), f"{prefix}{name}")


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
        name: DockerHost(
            args,
            address=address,
            published=servers.published[name],
            prefix=f"{prefix}{name}-",
            labels=labels,
            opts=pulumi.ResourceOptions(parent=_Server(name, prefix)),
        )
        for name, address in servers.addresses.items()
    }
    manager = hosts[servers.manager]
    networks = _declare_networks(
        manager,
        list_own_containers(args.models),
        is_shared=servers.is_swarm,
        encrypted=servers.encrypted,
    )
    assert images.valkey is not None
    assert networks.limits is not None
    valkey = DockerValkey(
        f"{manager.prefix}valkey",
        DockerValkeyArgs(
            host=manager.address,
            image=images.valkey,
            network=networks.limits,
            config_volume=manager.declare_volume("valkey-config"),
            data_volume=manager.declare_volume("valkey-data"),
            labels=labels,
        ),
        manager.part_opts,
    )
    token = ApiKey(f"{prefix}berth_token", client="gateway").key
    keys = create_client_keys(resolve_clients(args.clients), prefix="")
    storage = {
        name: host.declare_storage(images.gateway, token, valkey.url)
        for name, host in hosts.items()
    }
    berths = [
        (replica, _declare_berth(replica, hosts, images, networks, storage))
        for replica in servers.replicas
    ]
    reachable = [each for each in berths if each[0].host not in servers.skipped]
    gateways: dict[str, DockerGateway] = {}
    proxies: dict[str, DockerTlsProxy] = {}
    for name, host in hosts.items():
        gateways[name], proxy = host.declare_gateway(
            declare_config(args, keys, _list_urls(args.models, reachable, name)),
            storage=storage[name],
            networks=networks,
        )
        if proxy is not None:
            proxies[name] = proxy
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
    manager: DockerHost,
    own: Sequence[tuple[str, str]],
    *,
    is_shared: bool,
    encrypted: bool,
) -> BerthNetworks:
    """Declare the networks without a route to the outside.

    Args:
        own: Versions that run in containers of the user's own.
        is_shared: Whether all engines of a swarm know them.
        encrypted: Whether engines encrypt what they send each other.
    """
    suffix = "-plain" if is_shared and not encrypted else ""

    def declare(purpose: str) -> pulumi.Output[str]:
        return manager.declare_network(
            f"{purpose}{suffix}",
            # An engine adds an overlay network's ID to its options, and for that the provider would
            # replace the network. Therefore, a network with other options is another resource.
            pulumi.ResourceOptions(ignore_changes=["options"]),
            internal=True,
            driver="overlay" if is_shared else "bridge",
            attachable=is_shared,
            options={"encrypted": ""} if is_shared and encrypted else {},
        )

    return BerthNetworks(
        berths=declare("berths"),
        limits=declare("limits"),
        own={(model, version): declare(get_alias(f"{model}/{version}")) for model, version in own},
    )


def _declare_berth(
    replica: Replica,
    hosts: Mapping[str, DockerHost],
    images: HostingImages,
    networks: BerthNetworks,
    storage: Mapping[str, HostStorage],
) -> DockerBerth:
    model, _, version = replica.berth.partition("/")
    alias = get_alias(replica.berth)
    return hosts[replica.host].declare_berth(
        f"{alias}-{replica.number}",
        model,
        version,
        storage=storage[replica.host],
        image=images.serving[model, version],
        network=networks.get(model, version),
        alias=alias,
        gpus=replica.gpus,
    )


def _list_urls(
    models: Mapping[str, HostedModelArgs],
    berths: Sequence[tuple[Replica, DockerBerth]],
    host: str,
) -> dict[tuple[str, str], pulumi.Output[str]]:
    """Return the URL of each (model, version) for a host's gateways, known when all replicas are
    ready.

    They are the same on all hosts. The name servers of the engines answer with the replicas that
    run. A version without replicas has a name without an address.

    In the state, they depend only on the replicas of the host itself. Otherwise, an update that
    skips another host could change and delete nothing of this one.
    """
    urls: dict[tuple[str, str], pulumi.Output[str]] = {}
    for name, model in models.items():
        for version in model.versions:
            berth = f"{name}/{version}"
            url = f"http://{get_alias(berth)}:{_get_port(model, name, version)}"
            ready = [
                each.url if replica.host == host else _wait_only(each.url)
                for replica, each in berths
                if replica.berth == berth
            ]
            urls[name, version] = pulumi.Output.all(url, *ready).apply(lambda known: str(known[0]))
    return urls


def _get_port(model: HostedModelArgs, name: str, version: str) -> int:
    container = model.versions[version].container
    return HTTP_PORT if container is None else plan_own_container(container, name, version).port


def _wait_only(output: pulumi.Output[str]) -> pulumi.Output[str]:
    """Return an output that is known when `output` is, and depends on no resource in the state.

    The registration of a resource waits for it, and nothing else does: its deletion, for example.
    """
    value: Any = output.future(with_unknowns=True)
    return pulumi.Output(set(), value, output.is_known(), output.is_secret())
