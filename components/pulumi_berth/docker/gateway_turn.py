"""GatewayTurn: the declared gateways of a stack take over from earlier ones.

The containers of all gateways share the entry's listening sockets, and one of them serves. A new
gateway serves when those before it have ended: it is prepared, they finish their requests, and
meanwhile the kernel queues new connections.
"""

import time
from collections.abc import Mapping
from typing import Any

import docker
import pulumi
from docker.models.containers import Container
from pulumi.dynamic import Resource

from pulumi_berth.docker.container_plan import GATEWAY_CHECK, build_config_check
from pulumi_berth.docker.engine import (
    COMPONENT_LABEL,
    HOSTING_LABEL,
    EngineError,
    find_container,
    open_engine,
    read_last_log_lines,
    run_in_container,
)
from pulumi_berth.docker.ready_container import get_address
from pulumi_berth.providers import GatewayTurnProvider

GATEWAY = "gateway"
"""Component of the containers that run the gateway's program."""
INPUTS = ("host", "hosting", "entry", "gateways", "config_sha256")
"""Inputs whose change needs a new turn."""
_POLL_SECONDS = 0.2
_STOP_SECONDS = 40


class GatewayTurn(Resource, module="berth", name="GatewayTurn"):
    """The serving gateway of a stack.

    Attributes:
        address: Host name of the entry in its network.
    """

    address: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        host: str,
        hosting: str,
        entry: pulumi.Input[str],
        gateways: list[pulumi.Output[str]],
        config_sha256: pulumi.Input[str],
        seconds: float,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the turn.

        Args:
            hosting: Value of HOSTING_LABEL of the stack's containers.
            entry: ID of the container that holds the listening sockets.
            gateways: IDs of the gateways' containers.
            config_sha256: SHA-256 (hex) of the gateways' configuration file.
            seconds: Time limit for each step.
        """
        super().__init__(
            GatewayTurnProvider(),
            name,
            {
                "host": host,
                "hosting": hosting,
                "entry": entry,
                "gateways": list(gateways),
                "config_sha256": config_sha256,
                "seconds": seconds,
                "address": None,
            },
            opts,
        )


def take_turn(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Wait until the gateways are prepared, end all others, and wait for the configuration.

    Returns:
        The output of the resource, `address`.

    Raises:
        EngineError: If a gateway does not become ready. The earlier ones serve again.
    """
    with open_engine(inputs["host"]) as client:
        entry = _require(client, inputs["entry"])
        gateways = [_require(client, each) for each in inputs["gateways"]]
        for gateway in gateways:
            _wait(gateway, GATEWAY_CHECK, gateway, float(inputs["seconds"]))
        earlier = _find_earlier(client, inputs)
        for gateway in earlier:
            gateway.stop(timeout=_STOP_SECONDS)
        try:
            check = build_config_check(str(inputs["config_sha256"]))
            _wait(entry, check, gateways[0], float(inputs["seconds"]))
        except EngineError:
            for gateway in earlier:
                gateway.start()
            raise
    return {"address": get_address(inputs["entry"])}


def wait_for_config(inputs: Mapping[str, Any]) -> None:
    """Wait until the serving gateway uses the configuration with the SHA-256 `config_sha256`.

    Raises:
        EngineError: If it does not within the time limit.
    """
    with open_engine(inputs["host"]) as client:
        check = build_config_check(str(inputs["config_sha256"]))
        gateway = _require(client, inputs["gateways"][0])
        _wait(_require(client, inputs["entry"]), check, gateway, float(inputs["seconds"]))


def _find_earlier(client: docker.DockerClient, inputs: Mapping[str, Any]) -> list[Container]:
    """Return the running gateways of the stack that are not declared any more."""
    labels = [f"{HOSTING_LABEL}={inputs['hosting']}", f"{COMPONENT_LABEL}={GATEWAY}"]
    found: list[Container] = client.containers.list(filters={"label": labels})
    return [each for each in found if each.id not in inputs["gateways"]]


def _require(client: docker.DockerClient, container_id: str) -> Container:
    container = find_container(client, container_id)
    if container is None:
        raise EngineError(
            f"The container {get_address(container_id)} does not exist any more. Run 'berth up' "
            "again."
        )
    return container


def _wait(container: Container, check: list[str], logged: Container, seconds: float) -> None:
    """Wait until `check` succeeds in a container.

    Raises:
        EngineError: With the last log lines of `logged`.
    """
    deadline = time.monotonic() + seconds
    while True:
        status, output = run_in_container(container, check)
        if status == 0:
            return
        if time.monotonic() > deadline:
            raise EngineError(
                f"The gateway {logged.name} did not serve with its new configuration within "
                f"{seconds:g} s: {' '.join(output.split())[-200:] or 'no response'}. Its last log "
                f"lines: {read_last_log_lines(logged)}"
            )
        time.sleep(_POLL_SECONDS)
