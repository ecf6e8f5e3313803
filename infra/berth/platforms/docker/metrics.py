"""The metrics and captured requests of a docker stack's containers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from berth.errors import OperationError
from berth.platforms.docker.hosts import open_engines
from berth.platforms.docker.target import get_hosting_id
from berth.platforms.stack_context import StackContext
from berth_protocol.paths import CAPTURED
from pulumi_berth.container_commands import build_get_command, build_get_with_token_command
from pulumi_berth.docker.berth import TOKEN_FILE
from pulumi_berth.docker.container_plan import ADMIN_PORT, HTTP_PORT, TOKEN_DIRECTORY
from pulumi_berth.docker.engine import (
    COMPONENT_LABEL,
    HOSTING_LABEL,
    MODEL_LABEL,
    VERSION_LABEL,
    EngineError,
    run_in_container,
)
from pulumi_berth.docker.gateway import ENTRY

_METRICS = "/metrics"
# Label of a container -> the port of metrics on its loopback interface. The gateway that serves
# accepts the connections to the entry.
_PORTS = {"berth": HTTP_PORT, ENTRY: ADMIN_PORT}
_PARALLEL = 8


def read_captured(
    context: StackContext,
    outputs: dict[str, Any],  # noqa: ARG001
    model: str,
    version: str,
) -> list[str]:
    """Return the captured requests of each container of a version that responds.

    Raises:
        OperationError: If no engine responds.
    """
    token_file = f"{TOKEN_DIRECTORY}/{TOKEN_FILE}"
    command = build_get_with_token_command(HTTP_PORT, CAPTURED, token_file)
    labels = {MODEL_LABEL: model, VERSION_LABEL: version, COMPONENT_LABEL: "berth"}
    with _open_containers(context) as containers:
        results = [
            run_in_container(container, command)
            for container in containers
            if labels.items() <= container.labels.items()
        ]
    return [text for status, text in results if status == 0]


@contextmanager
def _open_containers(context: StackContext) -> Iterator[list[Any]]:
    """Provide the stack's berths, and the entries of its gateways."""
    own = f"{HOSTING_LABEL}={get_hosting_id(context)}"
    try:
        with ExitStack() as stack:
            yield [
                container
                for client in open_engines(context.spec.docker, stack).values()
                for container in client.containers.list(filters={"label": own})
                if container.labels.get(COMPONENT_LABEL) in _PORTS
            ]
    except EngineError as error:
        raise OperationError(str(error)) from error


def read_metrics(
    context: StackContext,
    outputs: dict[str, Any],  # noqa: ARG001
) -> dict[str, str]:
    """Return the metrics of each program that responds, by the ID of its container.

    Their ports are not published, so a program inside each container reads them.

    Raises:
        OperationError: If no engine responds.
    """

    def read(container: Any) -> tuple[str, tuple[int, str]]:
        port = _PORTS[container.labels[COMPONENT_LABEL]]
        return container.id, run_in_container(container, build_get_command(port, _METRICS))

    with _open_containers(context) as containers, ThreadPoolExecutor(_PARALLEL) as pool:
        results = list(pool.map(read, containers))
    return {name: text for name, (status, text) in results if status == 0}
