"""The state of a running docker stack."""

from typing import Any

from berth.errors import OperationError
from berth.platforms.docker.target import get_hosting_id
from berth.platforms.stack_context import StackContext
from pulumi_berth.docker.container_plan import BERTH_CHECK, ENTRY_CHECK
from pulumi_berth.docker.engine import (
    COMPONENT_LABEL,
    HOSTING_LABEL,
    MODEL_LABEL,
    VERSION_LABEL,
    EngineError,
    find_container,
    open_engine,
    read_last_log_lines,
    resolve_host,
    run_in_container,
)

_SHOWN_LINES = 3


def observe(context: StackContext, outputs: dict[str, Any]) -> dict[str, Any]:
    """Return the state of the gateway and of each model version.

    The state is `ready`, `not ready` (running, but without a response or still loading),
    `restarting` (the program crashed and the engine starts it again), `stopped` or `missing` (the
    next `up` restores it). The programs themselves are asked: the engine's own checks run less
    often.

    Raises:
        OperationError: If the engine does not respond.
    """
    try:
        with open_engine(resolve_host(context.spec.docker.host)) as client:
            models = {
                model: {
                    "versions": {
                        version: {
                            "state": _get_state(client, berth["container"], BERTH_CHECK),
                            **{key: berth[key] for key in ("traffic", "exposed", "digest")},
                        }
                        for version, berth in entry["versions"].items()
                    },
                    "shadow": entry["shadow"],
                }
                for model, entry in outputs["models"].items()
            }
            gateway = _get_state(client, outputs["entry"], ENTRY_CHECK)
    except EngineError as error:
        raise OperationError(str(error)) from error
    return {"gateway": gateway, "models": models}


def _get_state(client: Any, container_id: str, check: list[str]) -> str:
    container = find_container(client, container_id)
    if container is None:
        return "missing"
    if container.status == "restarting":
        return "restarting"
    if container.status != "running":
        return "stopped"
    status, _ = run_in_container(container, check)
    return "ready" if status == 0 else "not ready"


def explain_failure(context: StackContext) -> list[str]:
    """Return the last log lines of the stack's containers that do not run.

    Raises:
        OperationError: If the engine does not respond.
    """
    lines: list[str] = []
    try:
        with open_engine(resolve_host(context.spec.docker.host)) as client:
            own = f"{HOSTING_LABEL}={get_hosting_id(context)}"
            for container in client.containers.list(all=True, filters={"label": own}):
                labels = container.labels
                if container.status in ("running", "created"):
                    continue
                name = " ".join(
                    labels[key]
                    for key in (COMPONENT_LABEL, MODEL_LABEL, VERSION_LABEL)
                    if key in labels
                )
                last = read_last_log_lines(container, _SHOWN_LINES)
                lines.append(f"{name} ({container.name}) is {container.status}: {last}")
    except EngineError as error:
        raise OperationError(str(error)) from error
    return lines
