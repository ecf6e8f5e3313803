"""DockerHosting: everything that serves models on a Docker engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_docker import Network, Provider, Volume

from pulumi_berth.api_key import ApiKey, ClientKeys, create_client_keys, select_newest_keys
from pulumi_berth.component_args import parse_args
from pulumi_berth.docker.berth import TOKEN_FILE, DockerBerth, DockerBerthArgs
from pulumi_berth.docker.container_plan import shorten_name
from pulumi_berth.docker.engine import HOSTING_LABEL, STACK_LABEL, resolve_host
from pulumi_berth.docker.engine_image import EngineImage
from pulumi_berth.docker.gateway import DockerGateway, DockerGatewayArgs
from pulumi_berth.docker.tls_plan import PROXY
from pulumi_berth.docker.tls_proxy import (
    DockerTlsArgs,
    DockerTlsProxy,
    DockerTlsProxyArgs,
    build_url,
    check_tls,
)
from pulumi_berth.docker.volume_files import VolumeFiles
from pulumi_berth.gateway_clients import BlockingArgs, JwtArgs
from pulumi_berth.gateway_config import declare_gateway_config
from pulumi_berth.hosted_models import (
    ClientArgs,
    HostedModelArgs,
    ResourceArgs,
    check_clients,
    check_models,
    find_digest,
    list_own_containers,
    resolve_clients,
)
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.kubernetes.hosting_images import HostingImages, create_images
from pulumi_berth.oci.image_store import STORE_HOST
from pulumi_berth.serving_settings import ServingSettings
from pulumi_berth.signing.hosted_versions import check_signatures
from pulumi_berth.values import default_to

DEFAULT_ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8080
DEFAULT_READY_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class DockerHostingArgs:
    """Arguments for `DockerHosting`."""

    models: Mapping[str, HostedModelArgs]
    """Models by name, as in their model cards."""
    host: str | None = None
    """Address of the engine, such as `unix:///var/run/docker.sock`. Defaults to `DOCKER_HOST`, then
    to that socket."""
    images: ImageSettings | None = None
    """Registry that images are pushed to and pulled from, and how they are built. By default, they
    are built in Berth's cache and loaded into the engine."""
    trusted_keys: Sequence[str] | None = None
    """Public keys in PEM format. If there are any, the program fails before it declares a resource
    if none of them signed the files of a version, and a version cannot set `image` or `container`.
    Defaults to none: no signature is required."""
    clients: Mapping[str, ClientArgs] | None = None
    """Clients of the gateway by name. Defaults to one client named `default`."""
    jwt: JwtArgs | None = None
    """Issuer of JSON Web Tokens for clients with `subjects`. Defaults to none: clients have API
    keys."""
    blocking: BlockingArgs | None = None
    """When clients that keep exceeding their limits and addresses that guess keys are blocked."""
    address: str | None = None
    """Address at which the engine's machine publishes the port for clients. Defaults to
    `127.0.0.1`."""
    port: int | None = None
    """TCP port for clients, with plain HTTP. Defaults to 8080. With `tls`, it is not published."""
    tls: DockerTlsArgs | None = None
    """TLS for clients. Defaults to plain HTTP."""
    metrics_port: int | None = None
    """TCP port on 127.0.0.1 of the engine's machine for the gateway's metrics. Defaults to none."""
    gateway_image: pulumi.Input[str] | None = None
    """Image of the gateway, `registry/name@sha256:...`. By default, it is built."""
    gateway_resources: ResourceArgs | None = None
    """Resources of each of the two gateways. Defaults to 50m CPU of at most 1, and 256Mi memory."""
    ready_seconds: int | None = None
    """Time limit for a new container to become ready, in seconds. Defaults to 120."""
    max_body_bytes: int | None = None
    """Maximum size of a request body, in bytes. Defaults to 10 MiB."""
    timeout_seconds: float | None = None
    """Time limit for a berth's response, in seconds. Defaults to 30."""
    body_memory_bytes: int | None = None
    """Memory of a gateway for all request bodies together, in bytes. Defaults to a quarter of its
    container's memory, at most 1 GiB."""


@dataclass(frozen=True, kw_only=True)
class DockerHostingParts:
    """What a hosting stack on a Docker engine consists of.

    Attributes:
        berths: Berth of each (model, version).
        gateway: The entry point.
        proxy: The proxy that ends TLS in front of the gateway. None with plain HTTP.
        images: Images that it runs.
        keys: API keys of each client, by name.
    """

    berths: Mapping[tuple[str, str], DockerBerth]
    gateway: DockerGateway
    proxy: DockerTlsProxy | None
    images: HostingImages
    keys: ClientKeys


class DockerHosting(pulumi.ComponentResource):
    """A hosting stack on a Docker engine: a hardened container for each model version, and the
    gateway in front of them.

    The containers keep running after the program ends and start again with the engine, until the
    component is destroyed. Only the port for clients is published.
    """

    endpoint: pulumi.Output[str]
    """Base URL for clients on the engine's machine."""
    api_keys: pulumi.Output[dict[str, str]]
    """Newest API key of each client, a secret."""

    def __init__(
        self, name: str, args: DockerHostingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:index:DockerHosting", name, None, opts)
        args = parse_args(DockerHostingArgs, args)
        check_models(args.models, allows_datasets=False)
        check_signatures(args.models, args.trusted_keys)
        check_clients(args.clients, args.models)
        check_tls(args.tls, default_to(args.port, DEFAULT_PORT))
        parts = declare_docker_hosting(
            args, opts=pulumi.ResourceOptions(parent=self), prefix=f"{name}-"
        )
        self.endpoint = build_endpoint(args, parts)
        newest = select_newest_keys(resolve_clients(args.clients), parts.keys)
        self.api_keys = pulumi.Output.secret(pulumi.Output.all(**newest))
        self.register_outputs({"endpoint": self.endpoint, "api_keys": self.api_keys})


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


def build_marks(labels: Mapping[str, str]) -> list[Any]:
    """Return labels in the form that networks and volumes have."""
    return [{"label": key, "value": value} for key, value in sorted(labels.items())]


def build_endpoint(args: DockerHostingArgs, parts: DockerHostingParts) -> pulumi.Output[str]:
    """Return the URL for clients, known when a gateway serves."""
    address = default_to(args.address, DEFAULT_ADDRESS)
    shown = DEFAULT_ADDRESS if address == "0.0.0.0" else address  # noqa: S104
    url = build_url(args.tls, shown, default_to(args.port, DEFAULT_PORT))
    served = parts.gateway.address if parts.proxy is None else parts.proxy.container
    return served.apply(lambda _: url)


def declare_docker_hosting(
    args: DockerHostingArgs,
    *,
    opts: pulumi.ResourceOptions | None = None,
    prefix: str,
    image_prefix: str | None = None,
    base: str | None = None,
    base_gpu: str | None = None,
) -> DockerHostingParts:
    """Declare the images, networks, volumes, a berth for each model version, and the gateway.

    Args:
        prefix: Prefix of the logical resource names. The names of containers, networks and volumes
            are these names and a random suffix.
        image_prefix: Prefix of the logical names of the images. Defaults to `prefix`.
        base: Base image of CPU berths and of the gateway. Defaults to Berth's recipe.
        base_gpu: Base image of GPU berths. Defaults to Berth's recipe.
    """
    host = resolve_host(args.host)
    settings = args.images or ImageSettings(registry=STORE_HOST)
    image_prefix = default_to(image_prefix, prefix)
    # Images are built with the same functions as for a cluster, and so have the same digests.
    images = create_images(
        args.models,
        settings,
        base=base,
        base_gpu=base_gpu,
        gateway=args.gateway_image,
        has_own_valkey=False,
        engine=host,
        opts=opts,
        prefix=image_prefix,
    )
    provider = Provider(f"{prefix}engine", host=host, opts=opts)
    labels = build_labels(prefix)
    marks = build_marks(labels)
    engine_opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(provider=provider))
    front = Network(shorten_name(f"{prefix}front"), labels=marks, opts=engine_opts)
    inside = Network(shorten_name(f"{prefix}berths"), internal=True, labels=marks, opts=engine_opts)
    own_networks = {
        (name, version): Network(
            shorten_name(f"{prefix}{name}-{version}"),
            internal=True,
            labels=marks,
            opts=engine_opts,
        ).name
        for name, version in list_own_containers(args.models)
    }
    volumes = {
        name: Volume(shorten_name(f"{prefix}{name}"), labels=marks, opts=engine_opts)
        for name in ("token", "config", "state")
    }
    gateway_image = EngineImage(f"{prefix}gateway", host=host, reference=images.gateway, opts=opts)
    token = ApiKey(f"{prefix}berth_token", client="gateway", opts=opts).key
    token_files = VolumeFiles(
        f"{prefix}token",
        host=host,
        volume=volumes["token"].name,
        image=gateway_image.image_id,
        files={TOKEN_FILE: token},
        labels=labels,
        is_secret=True,
        opts=opts,
    )
    state_files = VolumeFiles(
        f"{prefix}state",
        host=host,
        volume=volumes["state"].name,
        image=gateway_image.image_id,
        files={},
        directories=["gateway"],
        labels=labels,
        opts=opts,
    )
    part_opts = pulumi.ResourceOptions.merge(
        opts,
        pulumi.ResourceOptions(providers=[provider], depends_on=[token_files, state_files]),
    )
    berths = {
        (name, version): DockerBerth(
            f"{prefix}{name}-{version}",
            DockerBerthArgs(
                host=host,
                model=name,
                version=version,
                digest=find_digest(entry),
                image=images.serving[name, version],
                network=own_networks.get((name, version), inside.name),
                token_volume=volumes["token"].name,
                serving=model.serving or ServingSettings(),
                resources=model.resources or ResourceArgs(),
                ready_seconds=default_to(args.ready_seconds, DEFAULT_READY_SECONDS),
                labels=labels,
                container=entry.container,
                probe_image=gateway_image.image_id,
            ),
            part_opts,
        )
        for name, model in args.models.items()
        for version, entry in model.versions.items()
    }
    clients = resolve_clients(args.clients)
    keys = create_client_keys(clients, opts=opts, prefix=image_prefix)
    gateway = DockerGateway(
        f"{prefix}gateway",
        DockerGatewayArgs(
            host=host,
            image=images.gateway,
            image_id=gateway_image.image_id,
            config=declare_gateway_config(
                args.models,
                clients,
                keys,
                {version: berth.url for version, berth in berths.items()},
                max_body_bytes=args.max_body_bytes,
                timeout_seconds=args.timeout_seconds,
                body_memory_bytes=args.body_memory_bytes,
                jwt=args.jwt,
                blocking=args.blocking,
                splits_traffic=True,
            ),
            front_network=front.name,
            berth_network=inside.name,
            own_networks=list(own_networks.values()),
            has_outside_access=args.jwt is not None and args.jwt.jwks_url is not None,
            token_volume=volumes["token"].name,
            config_volume=volumes["config"].name,
            state_volume=volumes["state"].name,
            address=default_to(args.address, DEFAULT_ADDRESS),
            port=default_to(args.port, DEFAULT_PORT),
            metrics_port=args.metrics_port,
            resources=args.gateway_resources or ResourceArgs(),
            ready_seconds=default_to(args.ready_seconds, DEFAULT_READY_SECONDS),
            labels=labels,
            has_proxy=args.tls is not None,
        ),
        part_opts,
        prefix=prefix,
    )
    proxy = declare_proxy(
        args,
        gateway,
        prefix=prefix,
        host=host,
        files_image=gateway_image.image_id,
        network=front.name,
        address=default_to(args.address, DEFAULT_ADDRESS),
        labels=labels,
        opts=part_opts,
    )
    return DockerHostingParts(berths=berths, gateway=gateway, proxy=proxy, images=images, keys=keys)


def declare_proxy(
    args: DockerHostingArgs,
    gateway: DockerGateway,
    *,
    prefix: str,
    host: str,
    files_image: pulumi.Input[str],
    network: pulumi.Input[str],
    address: str,
    labels: Mapping[str, str],
    opts: pulumi.ResourceOptions,
) -> DockerTlsProxy | None:
    """Declare the proxy that ends TLS in front of a gateway, or return None with plain HTTP."""
    if args.tls is None:
        return None
    return DockerTlsProxy(
        f"{prefix}{PROXY}",
        DockerTlsProxyArgs(
            host=host,
            tls=args.tls,
            files_image=files_image,
            entry=gateway.entry,
            gateway=gateway.address,
            network=network,
            address=address,
            timeout_seconds=args.timeout_seconds,
            ready_seconds=default_to(args.ready_seconds, DEFAULT_READY_SECONDS),
            labels=labels,
        ),
        opts,
    )
