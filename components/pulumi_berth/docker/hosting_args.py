"""Arguments of a hosting stack on Docker engines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from pulumi_berth.docker.tls_proxy import DockerTlsArgs
from pulumi_berth.gateway_clients import BlockingArgs, JwtArgs
from pulumi_berth.hosted_models import ClientArgs, HostedModelArgs, ResourceArgs
from pulumi_berth.images.built_image import ImageSettings

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
