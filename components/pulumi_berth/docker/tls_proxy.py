"""The proxy on a Docker engine that ends TLS in front of the gateway."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_docker import Container, Volume

from pulumi_berth.component_args import ArgumentError, parse_args
from pulumi_berth.docker.container_plan import (
    HTTP_PORT,
    NO_NAME_SERVER,
    ContainerPlan,
    Mount,
    plan_limits,
    shorten_name,
)
from pulumi_berth.docker.engine import COMPONENT_LABEL, IMAGE_LABEL
from pulumi_berth.docker.engine_image import EngineImage
from pulumi_berth.docker.ready_container import ReadyContainer
from pulumi_berth.docker.served_certificate import ServedCertificate
from pulumi_berth.docker.tls_plan import (
    ACME_DIRECTORY,
    CONFIG_DIRECTORY,
    DEFAULT_TLS_PORT,
    GRACE_SECONDS,
    LETS_ENCRYPT,
    LIMITS,
    PROXY,
    PROXY_CHECK,
    ROOT_FILE,
    ROUTES_FILE,
    STATE_DIRECTORY,
    TLS_PORT,
    Acme,
    build_proxy_command,
    build_routes,
    compute_fingerprint,
)
from pulumi_berth.docker.volume_files import VolumeFiles
from pulumi_berth.images.third_party import get_image
from pulumi_berth.values import default_to

_READY_SECONDS = 60
_DEFAULT_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class AcmeArgs:
    """An authority that issues and renews a certificate automatically (ACME, RFC 8555)."""

    email: str
    """Address of the account, to which the authority can send warnings."""
    directory: str | None = None
    """URL of the authority's directory. Defaults to that of Let's Encrypt, whose terms of service
    you accept."""
    roots: str | None = None
    """Root certificates in PEM by which the proxy recognizes the directory's server. Defaults to
    those of the proxy's image."""


@dataclass(frozen=True, kw_only=True)
class DockerTlsArgs:
    """TLS for clients: a certificate with its key, or an authority that issues one."""

    hostnames: Sequence[str] | None = None
    """Host names of the certificate. The first one is the host of the endpoint. Defaults to the
    address at which the port is published. `acme` requires them."""
    certificate: pulumi.Input[str] | None = None
    """Certificate in PEM, followed by its intermediate certificates."""
    key: pulumi.Input[str] | None = None
    """Private key of the certificate in PEM, a secret."""
    acme: AcmeArgs | None = None
    """Authority that issues the certificate, instead of `certificate`. It connects to port 443 of
    each host name to validate it (TLS-ALPN-01)."""
    port: int | None = None
    """TCP port for clients. Defaults to 443."""
    image: pulumi.Input[str] | None = None
    """Image of Traefik, the proxy. Defaults to the version that Berth is tested with."""


def check_tls(tls: DockerTlsArgs | None, port: int) -> None:
    """Check that TLS has one source of its certificate, and its own port.

    Args:
        port: The port without TLS.

    Raises:
        ArgumentError: If it does not.
    """
    if tls is None:
        return
    problems: list[tuple[str, str]] = []
    if (tls.certificate is None) == (tls.acme is None):
        problems.append(("tls", "must have one of certificate and acme"))
    if (tls.certificate is None) != (tls.key is None):
        problems.append(("tls.key", "must be set with certificate, and only then"))
    if tls.acme is not None and not tls.hostnames:
        problems.append(("tls.acme", "requires hostnames"))
    if get_tls_port(tls) == port:
        problems.append(("tls.port", f"is also port, {port}; use two different ports"))
    if problems:
        raise ArgumentError(problems)


def get_tls_port(tls: DockerTlsArgs) -> int:
    """Return the published port."""
    return default_to(tls.port, DEFAULT_TLS_PORT)


def build_url(tls: DockerTlsArgs | None, address: str, port: int) -> str:
    """Return the URL for clients.

    Args:
        address: Address at which the port is published. A host name of the certificate replaces it.
        port: Port without TLS.
    """
    if tls is None:
        return f"http://{address}:{port}"
    host, tls_port = (tls.hostnames or [address])[0], get_tls_port(tls)
    return f"https://{host}" + ("" if tls_port == DEFAULT_TLS_PORT else f":{tls_port}")


@dataclass(frozen=True, kw_only=True)
class DockerTlsProxyArgs:
    """Arguments for `DockerTlsProxy`.

    Attributes:
        host: Address of the engine.
        tls: Certificate and port.
        files_image: ID of any image of the engine, through which files are written.
        entry: ID of the container that holds the gateway's sockets.
        gateway: Host name of that container, known when a gateway serves.
        network: Network of the entry.
        address: Address at which the port is published.
        timeout_seconds: The gateway's time limit for a body, in seconds.
        ready_seconds: Time limit for the certificate to be served.
        labels: Labels of the stack's containers.
    """

    host: str
    tls: DockerTlsArgs
    files_image: pulumi.Input[str]
    entry: pulumi.Input[str]
    gateway: pulumi.Input[str]
    network: pulumi.Input[str]
    address: str
    timeout_seconds: float | None
    ready_seconds: float
    labels: Mapping[str, str]


class DockerTlsProxy(pulumi.ComponentResource):
    """Traefik, which ends TLS and forwards each request to the gateway.

    A new certificate is a changed file: the container stays, and open connections too. Only other
    settings replace it. It is then deleted first, because its port cannot belong to two containers.

    Attributes:
        container: ID of the container, known when the certificate is served.
    """

    container: pulumi.Output[str]

    def __init__(
        self, name: str, args: DockerTlsProxyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:docker:TlsProxy", name, None, opts)
        args = parse_args(DockerTlsProxyArgs, args)
        tls, acme = args.tls, args.tls.acme
        child_opts = pulumi.ResourceOptions(parent=self)
        reference = get_image("traefik") if tls.image is None else tls.image
        image = EngineImage(name, host=args.host, reference=reference, opts=child_opts)
        config = self._declare_files(name, args, child_opts)
        state = None if acme is None else self._declare_state(name, args, child_opts)
        files = [config, *([] if state is None else [state])]
        plan = ContainerPlan(
            command=build_proxy_command(
                timeout_seconds=default_to(args.timeout_seconds, _DEFAULT_TIMEOUT_SECONDS),
                acme=None
                if acme is None
                else Acme(
                    email=acme.email,
                    directory=default_to(acme.directory, LETS_ENCRYPT),
                    has_roots=acme.roots is not None,
                ),
            ),
            mounts=[
                Mount(volume=config.volume, target=CONFIG_DIRECTORY),
                *(
                    []
                    if state is None
                    else [Mount(volume=state.volume, target=STATE_DIRECTORY, read_only=False)]
                ),
            ],
            check=PROXY_CHECK,
            grace_seconds=GRACE_SECONDS,
            limits=plan_limits(*LIMITS),
            labels={**args.labels, COMPONENT_LABEL: PROXY, IMAGE_LABEL: reference},
            tmp_mib=1,
        )
        container = Container(
            shorten_name(name),
            image=image.image_id,
            networks_advanced=[{"name": args.network}],
            # Only an authority's directory has a name outside the engine.
            dns=NO_NAME_SERVER if acme is None else None,
            ports=[{"internal": TLS_PORT, "external": get_tls_port(tls), "ip": args.address}],
            **plan.build_arguments(),
            opts=pulumi.ResourceOptions.merge(
                child_opts,
                pulumi.ResourceOptions(depends_on=files, delete_before_replace=True),
            ),
        )
        ready = ReadyContainer(
            name,
            host=args.host,
            container=container.id,
            check=PROXY_CHECK,
            seconds=_READY_SECONDS,
            opts=child_opts,
        )
        served = ServedCertificate(
            name,
            host=args.host,
            entry=args.entry,
            proxy=container.id,
            hostnames=tls.hostnames or (),
            fingerprint=""
            if tls.certificate is None
            else pulumi.Output.from_input(tls.certificate).apply(compute_fingerprint),
            seconds=args.ready_seconds,
            opts=pulumi.ResourceOptions.merge(
                child_opts, pulumi.ResourceOptions(depends_on=[ready, config])
            ),
        )
        self.container = pulumi.Output.all(container.id, served.urn).apply(lambda it: str(it[0]))
        self.register_outputs({"container": self.container})

    @staticmethod
    def _declare_files(
        name: str, args: DockerTlsProxyArgs, opts: pulumi.ResourceOptions
    ) -> VolumeFiles:
        tls = args.tls
        hostnames = list(tls.hostnames or ())
        routes = pulumi.Output.all(args.gateway, tls.certificate, tls.key).apply(
            lambda known: build_routes(f"http://{known[0]}:{HTTP_PORT}", hostnames, *known[1:])
        )
        files: dict[str, pulumi.Input[str]] = {ROUTES_FILE: pulumi.Output.secret(routes)}
        if tls.acme is not None and tls.acme.roots is not None:
            files[ROOT_FILE] = tls.acme.roots
        return VolumeFiles(
            f"{name}-config",
            host=args.host,
            volume=_declare_volume(f"{name}-config", args.labels, opts),
            image=args.files_image,
            files=files,
            labels=args.labels,
            is_secret=True,
            opts=opts,
        )

    @staticmethod
    def _declare_state(
        name: str, args: DockerTlsProxyArgs, opts: pulumi.ResourceOptions
    ) -> VolumeFiles:
        """Declare the directory with the account and the certificates of an authority."""
        return VolumeFiles(
            f"{name}-state",
            host=args.host,
            volume=_declare_volume(f"{name}-state", args.labels, opts),
            image=args.files_image,
            files={},
            directories=[ACME_DIRECTORY],
            labels=args.labels,
            opts=opts,
        )


def _declare_volume(
    name: str, labels: Mapping[str, str], opts: pulumi.ResourceOptions
) -> pulumi.Output[str]:
    marks: list[Any] = [{"label": key, "value": value} for key, value in sorted(labels.items())]
    return Volume(shorten_name(name), labels=marks, opts=opts).name
