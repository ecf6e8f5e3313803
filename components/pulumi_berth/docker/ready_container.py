"""ReadyContainer: a container that is ready, or an update that fails and shows its last words."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import docker
import pulumi
from docker.models.containers import Container
from pulumi.dynamic import Resource

from pulumi_berth.docker.container_plan import PIDS_LIMIT
from pulumi_berth.docker.engine import (
    EngineError,
    find_container,
    open_engine,
    read_last_log_lines,
    run_in_container,
)
from pulumi_berth.docker.probe import build_probe_checks, open_probe
from pulumi_berth.providers import ReadyContainerProvider

INPUTS = ("host", "container", "check", "pids", "port", "paths")
"""Inputs whose change needs a new check. Only a new container needs a new resource."""
# A check starts Python in the container, which would delay a busy machine more and more.
_FIRST_POLL_SECONDS = 0.3
_LAST_POLL_SECONDS = 2.0
_SHORT_ID = 12


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How a container is checked that contains no program for it, from another one.

    Attributes:
        image: Image of the other container, in the engine.
        network: Network of both containers.
        port: TCP port of the server.
        paths: Paths that respond with 200 when the server is ready.
    """

    image: pulumi.Input[str]
    network: pulumi.Input[str]
    port: int
    paths: Sequence[str]


class ReadyContainer(Resource, module="berth", name="ReadyContainer"):
    """A container of the stack that its check found ready.

    It also limits the container's processes, which the Docker provider cannot.

    Attributes:
        address: Host name of the container in the stack's networks. A new container has a new one.
    """

    address: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        host: str,
        container: pulumi.Input[str],
        check: Sequence[str] | Probe,
        seconds: float,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the check.

        Args:
            check: Command that succeeds in the container when it is ready, or a check from another
                container.
            seconds: Time limit.
        """
        super().__init__(
            ReadyContainerProvider(),
            name,
            {
                "host": host,
                "container": container,
                "seconds": seconds,
                "pids": PIDS_LIMIT,
                "address": None,
                **_describe_check(check),
            },
            opts,
        )


def _describe_check(check: Sequence[str] | Probe) -> dict[str, Any]:
    if not isinstance(check, Probe):
        return {"check": list(check)}
    return {
        "image": check.image,
        "network": check.network,
        "port": check.port,
        "paths": list(check.paths),
    }


def wait_until_ready(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Limit the container's processes, and wait until its check succeeds.

    Returns:
        The output of the resource, `address`.

    Raises:
        EngineError: If the container ends, does not exist, or is not ready in time.
    """
    deadline = time.monotonic() + float(inputs["seconds"])
    with open_engine(inputs["host"]) as client:
        container = find_container(client, inputs["container"])
        if container is None:
            raise EngineError(
                f"The container {inputs['container'][:_SHORT_ID]} does not exist any more. Run "
                "'berth up' again."
            )
        pause = _FIRST_POLL_SECONDS
        limit_processes(client, container, int(inputs["pids"]))
        with _open_checker(client, container, inputs) as (checker, checks):
            while True:
                status, output = _run_all(checker, checks)
                if status == 0:
                    return {"address": get_address(inputs["container"])}
                container.reload()
                restarts = int(container.attrs.get("RestartCount") or 0)
                if restarts > 1 or container.status in ("exited", "dead"):
                    raise EngineError(
                        f"The container {container.name} ended with status "
                        f"{container.attrs['State']['ExitCode']} instead of becoming ready. Its "
                        f"last log lines: {read_last_log_lines(container)}"
                    )
                if time.monotonic() > deadline:
                    raise EngineError(
                        f"The container {container.name} was not ready within "
                        f"{inputs['seconds']:g} s: {output[:80]}{output[80:][-120:]}. Its last "
                        f"log lines: {read_last_log_lines(container)}"
                    )
                time.sleep(pause)
                pause = min(pause * 1.3, _LAST_POLL_SECONDS)


@contextmanager
def _open_checker(
    client: docker.DockerClient, container: Container, inputs: Mapping[str, Any]
) -> Iterator[tuple[Container, dict[str, list[str]]]]:
    """Yield the container that runs the check, and the commands that must succeed in it."""
    if inputs.get("paths") is None:
        yield container, {"": list(inputs["check"])}
        return
    with open_probe(client, container, inputs) as probe:
        yield probe, build_probe_checks(inputs, get_address(inputs["container"]))


def _run_all(container: Container, checks: Mapping[str, list[str]]) -> tuple[int, str]:
    """Run commands until one fails. Return the exit status and the output of that one."""
    for name, command in checks.items():
        status, output = run_in_container(container, command)
        if status != 0:
            return status, name + (" ".join(output.split()) or "no response")
    return 0, ""


def get_address(container_id: str) -> str:
    """Return the host name by which a container's networks know it: its short ID.

    https://docs.docker.com/engine/network/#container-networks
    """
    return container_id[:_SHORT_ID]


def is_limited(container: Container) -> bool:
    """Return whether the number of the container's processes is limited as declared."""
    return bool(container.attrs["HostConfig"].get("PidsLimit") == PIDS_LIMIT)


def limit_processes(
    client: docker.DockerClient, container: Container, pids: int = PIDS_LIMIT
) -> None:
    """Limit the number of a container's processes and threads."""
    if container.attrs["HostConfig"].get("PidsLimit") == pids:
        return
    # The SDK's `update_container` does not have this field.
    url = client.api._url("/containers/{0}/update", container.id)
    response = client.api._post(
        url, data=json.dumps({"PidsLimit": pids}), headers={"Content-Type": "application/json"}
    )
    client.api._raise_for_status(response)
    container.reload()
