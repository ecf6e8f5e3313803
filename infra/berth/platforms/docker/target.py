"""The engine of a stack, before an update: it responds, and the ports are free."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from berth.platforms.docker.hosts import list_engines, open_engines
from berth.platforms.stack_context import StackContext
from berth.project import read_project_name
from berth.spec import DockerSpec, HostingSpec, SpecError
from pulumi_berth.docker.engine import (
    COMPONENT_LABEL,
    HOSTING_LABEL,
    EngineError,
)
from pulumi_berth.docker.tls_plan import PROXY

MIN_API = (1, 41)
"""API of Docker 20.10, the oldest engine that Berth is tested with."""
_ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104


def get_hosting_id(context: StackContext) -> str:
    """Return the value of HOSTING_LABEL of the stack's containers."""
    return f"{read_project_name(context.root)}/{context.stack}/berth-{context.stack}"


def require_engine(spec: HostingSpec) -> None:
    """Check that an engine responds, and that those that respond are new enough.

    Raises:
        SpecError: If it does not, or is too old.
    """
    try:
        with ExitStack() as stack:
            clients = open_engines(spec.docker, stack)
            versions = {name: client.version() for name, client in clients.items()}
    except EngineError as error:
        raise SpecError.of(str(error)) from error
    addresses = list_engines(spec.docker)
    for name, version in versions.items():
        api = tuple(int(part) for part in str(version["ApiVersion"]).split("."))
        if api < MIN_API:
            raise SpecError.of(
                f"The Docker engine at {addresses[name]} is version {version['Version']}. Nothing "
                "was changed. Update it to 20.10 or later."
            )


def require_free_ports(context: StackContext) -> None:
    """Check that no container of someone else publishes the ports of the stack.

    Names need no check: the engine's names of a stack's containers, networks and volumes end with
    random characters, so they are never those of something that exists.

    Raises:
        SpecError: If a port is in use.
    """
    docker = context.spec.docker
    try:
        with ExitStack() as stack:
            own = get_hosting_id(context)
            clients = open_engines(docker, stack)
            published = {name: list(_list_ports(client, own)) for name, client in clients.items()}
            is_held = docker.tls is None and any(
                _has_proxy_at(client, own, docker.port) for client in clients.values()
            )
    except EngineError as error:
        raise SpecError.of(str(error)) from error
    if is_held:
        raise SpecError.of(
            f"docker.port: port {docker.port} is published by the stack's own proxy, which is "
            "removed last when TLS is turned off. Nothing was changed. Set another port."
        )
    for host, used in published.items():
        address = docker.address
        if host:
            address = docker.hosts[host].listen_address or address
        _require_free(docker, address, used, f" of host {host}" if host else "")


def _require_free(
    docker: DockerSpec, listen_address: str, used: list[tuple[str, str, int]], place: str
) -> None:
    key = "port" if docker.tls is None else "tls.port"
    wanted = [(key, listen_address, docker.client_port)]
    if docker.metrics_port is not None:
        wanted.append(("metrics_port", "127.0.0.1", docker.metrics_port))
    for key, address, port in wanted:
        for name, used_address, used_port in used:
            is_same = address == used_address or {address, used_address} & set(_ANY_ADDRESS)
            if port == used_port and is_same:
                raise SpecError.of(
                    f"docker.{key}: port {port} on {address}{place} is published by the container "
                    f"'{name}', which is not part of this stack. Nothing was changed. Stop it, or "
                    "set another port."
                )


def _has_proxy_at(client: Any, own: str, port: int) -> bool:
    """Return whether the stack's proxy publishes a port."""
    return any(
        published.get("PublicPort") == port
        for entry in client.api.containers()
        for published in entry.get("Ports") or ()
        if (entry.get("Labels") or {}).get(HOSTING_LABEL) == own
        and entry["Labels"].get(COMPONENT_LABEL) == PROXY
    )


def _list_ports(client: Any, own: str) -> Iterator[tuple[str, str, int]]:
    """Yield the name, address and port of each port that a container of someone else publishes."""
    for entry in client.api.containers():
        if (entry.get("Labels") or {}).get(HOSTING_LABEL) == own:
            continue
        for port in entry.get("Ports") or ():
            if "PublicPort" in port:
                name = str(entry["Names"][0]).lstrip("/")
                yield name, str(port.get("IP", "")), int(port["PublicPort"])
