"""The state of a running docker stack."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from berth.errors import OperationError
from berth.platforms.docker.hosts import open_engines
from berth.platforms.docker.target import get_hosting_id
from berth.platforms.stack_context import StackContext
from berth_protocol.paths import READY
from pulumi_berth.docker.container_plan import BERTH_CHECK, ENTRY_CHECK, build_probe_command
from pulumi_berth.docker.engine import (
    COMPONENT_LABEL,
    HOSTING_LABEL,
    MODEL_LABEL,
    PORT_LABEL,
    VERSION_LABEL,
    EngineError,
    find_container,
    read_last_log_lines,
    run_in_container,
)
from pulumi_berth.docker.gateway_turn import GATEWAY
from pulumi_berth.docker.ready_container import get_address
from pulumi_berth.docker.tls_plan import PROXY_CHECK

UNREACHABLE = "host unreachable"
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
        with ExitStack() as stack:
            clients = open_engines(context.spec.docker, stack)
            models = {
                model: {
                    "versions": {
                        version: {
                            **_get_version_state(clients, berth),
                            **{key: berth[key] for key in ("traffic", "exposed", "digest")},
                        }
                        for version, berth in entry["versions"].items()
                    },
                    "shadow": entry["shadow"],
                }
                for model, entry in outputs["models"].items()
            }
            # The outputs of a stack on one engine have no names of hosts.
            entries = outputs.get("entries") or {"": outputs["entry"]}
            proxies = outputs.get("proxies") or {"": outputs.get("proxy")}
            gateways = {
                host: _summarize(
                    [
                        _get_host_state(clients, host, entry, ENTRY_CHECK),
                        *(
                            [_get_host_state(clients, host, proxies[host], PROXY_CHECK)]
                            if proxies.get(host)
                            else []
                        ),
                    ]
                )
                for host, entry in entries.items()
            }
    except EngineError as error:
        raise OperationError(str(error)) from error
    return {
        "gateway": _summarize(list(gateways.values())),
        **({"gateways": gateways} if "" not in gateways else {}),
        "models": models,
    }


def _get_version_state(clients: Mapping[str, Any], berth: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a version, and that of each replica if it has hosts."""
    if "containers" not in berth:
        return {"state": _get_state(clients[""], berth["container"], BERTH_CHECK)}
    replicas = [
        {
            "host": each["host"],
            "state": _get_host_state(clients, each["host"], each["container"], BERTH_CHECK),
        }
        for each in berth["containers"]
    ]
    return {"state": _summarize([each["state"] for each in replicas]), "replicas": replicas}


def _get_host_state(
    clients: Mapping[str, Any], host: str, container_id: str, check: list[str]
) -> str:
    if host not in clients:
        return UNREACHABLE
    return _get_state(clients[host], container_id, check)


def _summarize(states: Sequence[str]) -> str:
    """Return `ready` if all are, `stopped` if there are none, and otherwise the first other one.

    What a user can repair comes before a host that is not reachable.
    """
    if not states:
        return "stopped"
    others = [state for state in states if state != "ready"]
    return next((state for state in others if state != UNREACHABLE), (*others, "ready")[0])


def _get_state(client: Any, container_id: str, check: list[str]) -> str:
    container = find_container(client, container_id)
    if container is None:
        return "missing"
    if container.status == "restarting":
        return "restarting"
    if container.status != "running":
        return "stopped"
    status, _ = _run_check(client, container, check)
    return "ready" if status == 0 else "not ready"


def _run_check(client: Any, container: Any, check: list[str]) -> tuple[int, str]:
    """Run a check in a container, or in a gateway if the container has no program for it."""
    port = container.labels.get(PORT_LABEL)
    if port is None:
        return run_in_container(container, check)
    hosting = f"{HOSTING_LABEL}={container.labels[HOSTING_LABEL]}"
    labels = [hosting, f"{COMPONENT_LABEL}={GATEWAY}"]
    gateways = client.containers.list(filters={"label": labels, "status": "running"})
    if not gateways:
        return 1, "no gateway runs"
    command = build_probe_command(get_address(container.id), int(port), READY)
    return run_in_container(gateways[0], command)


def explain_failure(context: StackContext) -> list[str]:
    """Return the last log lines of the stack's containers that do not run.

    Raises:
        OperationError: If the engine does not respond.
    """
    lines: list[str] = []
    own = f"{HOSTING_LABEL}={get_hosting_id(context)}"
    try:
        with ExitStack() as stack:
            for host, client in open_engines(context.spec.docker, stack).items():
                for container in client.containers.list(all=True, filters={"label": own}):
                    labels = container.labels
                    if container.status in ("running", "created"):
                        continue
                    name = " ".join(
                        labels[key]
                        for key in (COMPONENT_LABEL, MODEL_LABEL, VERSION_LABEL)
                        if key in labels
                    )
                    place = f"{container.name} on {host}" if host else container.name
                    last = read_last_log_lines(container, _SHOWN_LINES)
                    lines.append(f"{name} ({place}) is {container.status}: {last}")
    except EngineError as error:
        raise OperationError(str(error)) from error
    return lines
