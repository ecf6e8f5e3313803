"""Access to a Docker engine through its API."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from requests.exceptions import RequestException

from pulumi_berth.docker.ssh_tunnel import TunnelError, forward_engine, is_server

DEFAULT_HOST = "unix:///var/run/docker.sock"
USER = "65532:65532"
"""User and group of every program in Berth's images."""

# Labels of everything that a stack has in an engine.
HOSTING_LABEL = "berth.hosting"
"""Identifies a stack's containers: project, stack and the first part of the names."""
STACK_LABEL = "berth.stack"
COMPONENT_LABEL = "berth.component"
MODEL_LABEL = "berth.model"
VERSION_LABEL = "berth.version"
DIGEST_LABEL = "berth.digest"
IMAGE_LABEL = "berth.image"
PORT_LABEL = "berth.port"
"""TCP port of a container of the user's own, which has no program that could check it."""

_TIMEOUT_SECONDS = 120


class EngineError(RuntimeError):
    """An engine did not respond or rejected a request. The message says what to do."""


def resolve_host(host: str | None) -> str:
    """Return the address of an engine. Defaults to `DOCKER_HOST`, then to DEFAULT_HOST."""
    return host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST


def _find_reason(error: BaseException) -> str:
    """Return the operating system's reason behind an error of the client, or the error's text."""
    reason, cause = str(error), error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
        if isinstance(cause, OSError) and cause.strerror:
            reason = cause.strerror
    return reason


@contextmanager
def open_engine(host: str) -> Iterator[docker.DockerClient]:
    """Yield a client of the engine at `host`.

    Raises:
        EngineError: If the engine does not respond, or rejects a request in the block.
    """
    with ExitStack() as stack:
        try:
            local = forward_engine(host) if is_server(host) else host
            client = docker.DockerClient(local, timeout=_TIMEOUT_SECONDS, version="auto")
        except TunnelError as error:
            raise EngineError(f"{error} Nothing was changed there.") from error
        except (DockerException, RequestException, OSError) as error:
            raise EngineError(
                f"The Docker engine at {host} did not respond: {_find_reason(error)}. Nothing was "
                "changed there. Start it, or correct docker.host."
            ) from error
        stack.callback(client.close)
        try:
            yield client
        except (APIError, RequestException) as error:
            raise EngineError(f"The Docker engine at {host}: {describe_error(error)}") from error


def describe_error(error: Exception) -> str:
    """Return what an engine answered, in one line."""
    text = error.explanation if isinstance(error, APIError) and error.explanation else str(error)
    return " ".join(str(text).split())[:500]


def find_container(client: docker.DockerClient, container_id: str) -> Container | None:
    """Return a container by its ID or name, or None if it does not exist."""
    try:
        return client.containers.get(container_id)
    except NotFound:
        return None


def run_in_container(container: Container, command: list[str]) -> tuple[int, str]:
    """Run a program in a running container. Return its exit status and its output.

    A container that is not running gives status 126, as for a program that cannot run.
    """
    try:
        result: Any = container.exec_run(command)
    except APIError as error:
        return 126, describe_error(error)
    return int(result.exit_code), bytes(result.output).decode(errors="replace")


def read_last_log_lines(container: Container, lines: int = 5) -> str:
    """Return the last lines of a container's log."""
    try:
        text: bytes = container.logs(tail=lines)
    except APIError as error:
        return f"no log: {describe_error(error)}"
    return text.decode(errors="replace").strip() or "none"
