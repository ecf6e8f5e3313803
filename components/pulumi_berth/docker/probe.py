"""Checks of a container from another one in its network.

An engine runs a health check in the container itself. A container of the user's own has no program
for that: its image contains no shell, and its server can be in any language. The check therefore
runs in a container of the gateway's image, which has Python and is in the same network, as the
kubelet sends its probes from outside of a container.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import docker
from docker.errors import APIError
from docker.models.containers import Container

from pulumi_berth.docker.container_plan import (
    NO_NAME_SERVER,
    build_probe_command,
    build_sleep_command,
)
from pulumi_berth.docker.engine import (
    COMPONENT_LABEL,
    HOSTING_LABEL,
    STACK_LABEL,
    USER,
)

PROBE = "probe"
"""Component of the container that checks another one. It exists only while an update waits."""
_EXTRA_SECONDS = 60
_MEMORY = "64m"
_PROCESSES = 32


@contextmanager
def open_probe(
    client: docker.DockerClient, checked: Container, inputs: Mapping[str, Any]
) -> Iterator[Container]:
    """Yield a running container in the network of `checked`, and remove it after the block.

    The engine removes one of a killed update, because its program ends by itself.

    Args:
        inputs: `image` and `network` of the container, and the `seconds` for which it is needed.
    """
    labels = {key: checked.labels.get(key, "") for key in (HOSTING_LABEL, STACK_LABEL)}
    container = client.containers.run(
        inputs["image"],
        entrypoint=build_sleep_command(float(inputs["seconds"]) + _EXTRA_SECONDS),
        name=f"{checked.name}-{PROBE}-{secrets.token_hex(4)}",
        labels={**labels, COMPONENT_LABEL: PROBE},
        network=inputs["network"],
        dns=NO_NAME_SERVER,
        user=USER,
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit=_MEMORY,
        memswap_limit=_MEMORY,
        pids_limit=_PROCESSES,
        auto_remove=True,
        detach=True,
    )
    try:
        yield container
    finally:
        with suppress(APIError):  # Its program ended, and the engine removes it.
            container.remove(force=True)


def build_probe_checks(inputs: Mapping[str, Any], address: str) -> dict[str, list[str]]:
    """Return commands that succeed in a probe while the container at `address` is ready.

    Args:
        inputs: Its `port`, and the `paths` that respond with 200.

    Returns:
        The command of each request.
    """
    port = int(inputs["port"])
    return {
        f"GET :{port}{path}: ": build_probe_command(address, port, path) for path in inputs["paths"]
    }
