"""DockerHosting: everything that serves models on a Docker engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from pulumi_berth.api_key import ApiKey, ClientKeys, create_client_keys, select_newest_keys
from pulumi_berth.component_args import parse_args
from pulumi_berth.docker.berth import DockerBerth
from pulumi_berth.docker.engine import resolve_host
from pulumi_berth.docker.gateway import DockerGateway
from pulumi_berth.docker.host import BerthNetworks, DockerHost, build_labels
from pulumi_berth.docker.hosting_args import DEFAULT_ADDRESS, DEFAULT_PORT, DockerHostingArgs
from pulumi_berth.docker.tls_proxy import (
    DockerTlsProxy,
    build_url,
    check_tls,
)
from pulumi_berth.gateway_config import declare_gateway_config
from pulumi_berth.hosted_models import (
    check_clients,
    check_models,
    list_own_containers,
    resolve_clients,
)
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.images.hosting_images import HostingImages, create_images
from pulumi_berth.oci.image_store import STORE_HOST
from pulumi_berth.signing.hosted_versions import check_signatures
from pulumi_berth.values import default_to


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
    engine = DockerHost(
        args,
        address=host,
        published=default_to(args.address, DEFAULT_ADDRESS),
        prefix=prefix,
        labels=build_labels(prefix),
        opts=opts,
    )
    networks = BerthNetworks(
        berths=engine.declare_network("berths", internal=True),
        own={
            (name, version): engine.declare_network(f"{name}-{version}", internal=True)
            for name, version in list_own_containers(args.models)
        },
    )
    token = ApiKey(f"{prefix}berth_token", client="gateway", opts=opts).key
    storage = engine.declare_storage(images.gateway, token)
    berths = {
        (name, version): engine.declare_berth(
            f"{name}-{version}",
            name,
            version,
            storage=storage,
            image=images.serving[name, version],
            network=networks.get(name, version),
        )
        for name, model in args.models.items()
        for version in model.versions
    }
    keys = create_client_keys(resolve_clients(args.clients), opts=opts, prefix=image_prefix)
    urls = {version: berth.url for version, berth in berths.items()}
    gateway, proxy = engine.declare_gateway(
        declare_config(args, keys, urls), storage=storage, networks=networks
    )
    return DockerHostingParts(berths=berths, gateway=gateway, proxy=proxy, images=images, keys=keys)


def declare_config(
    args: DockerHostingArgs,
    keys: ClientKeys,
    urls: Mapping[tuple[str, str], pulumi.Output[str]],
) -> pulumi.Output[dict[str, Any]]:
    """Declare the configuration of gateways.

    Args:
        urls: URL of each (model, version), known when its berths are ready.
    """
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
