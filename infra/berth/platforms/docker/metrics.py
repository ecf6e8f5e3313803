"""The metrics of a docker stack's berths and gateways."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from berth.errors import OperationError
from berth.platforms.docker.hosts import open_engines
from berth.platforms.docker.target import get_hosting_id
from berth.platforms.stack_context import StackContext
from pulumi_berth.container_commands import build_get_command
from pulumi_berth.docker.container_plan import ADMIN_PORT, HTTP_PORT
from pulumi_berth.docker.engine import (
    COMPONENT_LABEL,
    HOSTING_LABEL,
    EngineError,
    run_in_container,
)

_METRICS = "/metrics"
# Label of a container -> the port on which its program serves metrics.
_PORTS = {"berth": HTTP_PORT, "gateway": ADMIN_PORT}
_PARALLEL = 8


def read_metrics(
    context: StackContext,
    outputs: dict[str, Any],  # noqa: ARG001
) -> dict[str, str]:
    """Return the metrics of each program that responds, by the ID of its container.

    Their ports are not published, so a program inside each container reads them.

    Raises:
        OperationError: If no engine responds.
    """
    own = f"{HOSTING_LABEL}={get_hosting_id(context)}"
    try:
        with ExitStack() as stack:
            containers = [
                container
                for client in open_engines(context.spec.docker, stack).values()
                for container in client.containers.list(filters={"label": own})
                if container.labels.get(COMPONENT_LABEL) in _PORTS
            ]

            def read(container: Any) -> tuple[str, tuple[int, str]]:
                port = _PORTS[container.labels[COMPONENT_LABEL]]
                command = build_get_command(port, _METRICS)
                return container.id, run_in_container(container, command)

            with ThreadPoolExecutor(_PARALLEL) as pool:
                results = list(pool.map(read, containers))
    except EngineError as error:
        raise OperationError(str(error)) from error
    return {name: text for name, (status, text) in results if status == 0}
