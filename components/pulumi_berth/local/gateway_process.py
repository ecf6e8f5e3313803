"""The gateway's processes under the supervisor: plain functions, no Pulumi.

Two processes share the listening sockets: one serves, the other waits and continues when the first
ends (see `berth_gateway.handover`). A restart starts the new program in the waiting process's place
and then ends the serving one, so no connection is refused.
"""

import hashlib
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from berth_gateway.config import convert_config, encode_config
from pulumi_berth.files import replace_atomically
from pulumi_berth.local import supervisord
from pulumi_berth.local.loopback import LOOPBACK, find_free_port, get_json, is_port_taken
from pulumi_berth.local.readiness import (
    NotReadyError,
    read_last_log_lines,
    wait_until_ready,
)
from pulumi_berth.local.run_dir import RunDir
from pulumi_berth.local.stack_processes import (
    PROCESS_VARIABLE,
    RUN_DIR_VARIABLE,
    find_processes,
    get_listening_ports,
)
from pulumi_berth.program_source import program_environment

PROCESSES = ("gateway", "gateway-2")
"""Names of the gateway's processes in the supervisor. Either can be the one that serves."""
PORTS = ("gateway_port", "admin_port")
RESTART_INPUTS = ("run_dir", "program_digest", *PORTS)
"""Inputs whose change needs a new process. A running gateway reloads all others."""
INPUTS = (*RESTART_INPUTS, "config", "berths")

_READY_SECONDS = 30.0
_GRACE_SECONDS = 30.0
# Relative to the run directory: a Unix socket's path is limited to about 100 bytes.
_HANDOVER = "gateway/handover"


def find_port_conflicts(
    olds: Mapping[str, Any], news: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield each changed port that another program uses, as the name of the input and a message."""
    run_dir = RunDir(Path(news["run_dir"]))
    for key in PORTS:
        port = news.get(key)
        if (
            port is not None
            and port != olds.get(key)
            and is_port_taken(int(port))
            and int(port) not in _own_ports(run_dir)
        ):
            yield key, _port_in_use(port)


def start(
    run_dir: RunDir, inputs: Mapping[str, Any], previous: Mapping[str, Any]
) -> dict[str, Any]:
    """Start the gateway and wait until it is ready. A running one serves until then.

    Args:
        previous: Outputs of the previous gateway. Its ports are used again if they are free and
            the inputs configure no port.

    Returns:
        The outputs of the resource.

    Raises:
        NotReadyError: If the new gateway exits or is not ready in time. A running one continues.
    """
    serving = _find_serving(run_dir, previous)
    own_ports = _own_ports(run_dir)
    ports = {
        key: _choose_port(inputs.get(key), previous.get(_listener(key)), own_ports) for key in PORTS
    }
    config = encode_config(convert_config(inputs["config"]))
    replace_atomically(run_dir.gateway_config, config)
    programs = {name: _program(run_dir, name, ports) for name in PROCESSES}
    try:
        if serving is None:
            for name in PROCESSES:
                supervisord.remove(run_dir, name)
            for program in programs.values():
                supervisord.add(run_dir, program)
        else:
            (waiting,) = (name for name in PROCESSES if name != serving)
            supervisord.remove(run_dir, waiting)
            supervisord.add(run_dir, programs[waiting])
            _wait_until_prepared(run_dir, waiting, set(ports.values()))
            supervisord.remove(run_dir, serving)
            supervisord.add(run_dir, programs[serving])
        _wait_until_active(run_dir, ports["admin_port"], config)
        for name in PROCESSES:
            _wait_until_prepared(run_dir, name, set(ports.values()))
    except NotReadyError:
        # A gateway that serves continues; a crash loop would only fill its log.
        for name in PROCESSES:
            if name != serving:
                supervisord.remove(run_dir, name)
        raise
    return {
        **{_listener(key): port for key, port in ports.items()},
        "endpoint": f"http://{LOOPBACK}:{ports['gateway_port']}",
        "running": True,
    }


def _program(run_dir: RunDir, name: str, ports: Mapping[str, int]) -> supervisord.Program:
    return supervisord.Program(
        name=name,
        command=[sys.executable, "-P", "-m", "berth_gateway"],
        directory=run_dir.path,
        environment={
            **program_environment("berth_gateway"),
            "GATEWAY_HOST": LOOPBACK,
            "GATEWAY_PORT": str(ports["gateway_port"]),
            "GATEWAY_ADMIN_PORT": str(ports["admin_port"]),
            "GATEWAY_CONFIG": str(run_dir.gateway_config),
            "GATEWAY_STATE_DIR": str(run_dir.gateway),
            "GATEWAY_TOKEN_FILE": str(run_dir.token),
            "GATEWAY_GRACE_SECONDS": f"{_GRACE_SECONDS:g}",
            "GATEWAY_HANDOVER": _HANDOVER,
        },
        grace_seconds=_GRACE_SECONDS,
    )


def reload(run_dir: RunDir, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """Replace the configuration of the running gateway. No connection is dropped.

    Args:
        outputs: Outputs of the running gateway, with its ports.

    Raises:
        RuntimeError: If the gateway rejects the configuration. It keeps the previous one.
    """
    config = encode_config(convert_config(inputs["config"]))
    previous = run_dir.gateway_config.read_bytes() if run_dir.gateway_config.exists() else None
    replace_atomically(run_dir.gateway_config, config)
    serving = _find_serving(run_dir, outputs) or PROCESSES[0]
    supervisord.reload(run_dir, serving)
    try:
        _wait_until_active(run_dir, int(outputs[_listener("admin_port")]), config)
    except Exception as error:
        # The gateway still runs with the previous configuration; a restart must read it too.
        if previous is not None:
            replace_atomically(run_dir.gateway_config, previous)
        raise RuntimeError(
            "The gateway rejected its new configuration and keeps the previous one. Its last log "
            f"lines: {read_last_log_lines(run_dir, serving)}"
        ) from error
    states = supervisord.get_states(run_dir)
    ports = {key: int(outputs[_listener(key)]) for key in PORTS}
    for name in PROCESSES:
        if states.get(name) not in supervisord.ALIVE_STATES:
            supervisord.remove(run_dir, name)
            supervisord.add(run_dir, _program(run_dir, name, ports))


def is_alive(states: Mapping[str, str]) -> bool:
    """Check whether the supervisor keeps both processes running."""
    return all(states.get(name) in supervisord.ALIVE_STATES for name in PROCESSES)


def is_serving(run_dir: RunDir, outputs: Mapping[str, Any]) -> bool:
    """Check whether a supervised gateway process of this stack serves."""
    return _find_serving(run_dir, outputs) in supervisord.get_states(run_dir)


def find_drift(run_dir: RunDir, outputs: Mapping[str, Any]) -> str | None:
    """Return how the gateway's configuration differs from the one that was deployed, or None."""
    expected = encode_config(convert_config(outputs["config"]))
    try:
        is_file_changed = run_dir.gateway_config.read_bytes() != expected
    except OSError:
        is_file_changed = True
    if is_file_changed:
        return f"{run_dir.gateway_config} was changed by another program"
    response = get_json(int(outputs[_listener("admin_port")]), "/healthz")
    active = response[1] if response is not None and isinstance(response[1], dict) else {}
    if active.get("config_sha256", "") not in ("", hashlib.sha256(expected).hexdigest()):
        return "the gateway uses another configuration than the one that was deployed"
    return None


def find_undeclared(states: Collection[str], berths: list[str]) -> list[str]:
    """Return the supervised processes without a resource. An interrupted `up` leaves them."""
    return sorted(set(states) - set(berths) - set(PROCESSES))


def _find_serving(run_dir: RunDir, outputs: Mapping[str, Any]) -> str | None:
    """Return the name of the process that serves, supervised or not.

    Return None if none serves, or one that cannot hand over because its program is too old.
    """
    port = outputs.get(_listener("admin_port"))
    response = get_json(int(port), "/healthz") if port is not None else None
    if response is None or not isinstance(response[1], dict):
        return None
    try:
        environment = psutil.Process(int(response[1].get("pid", 0))).environ()
    except psutil.Error:
        return None
    # Another stack can have taken the port.
    is_own = environment.get(RUN_DIR_VARIABLE) == str(run_dir.path)
    name = environment.get(PROCESS_VARIABLE)
    return name if is_own and name in PROCESSES else None


def _wait_until_prepared(run_dir: RunDir, name: str, ports: set[int]) -> None:
    """Return when the process `name` has the listening sockets and waits for its turn."""

    def is_prepared() -> bool:
        pid = supervisord.get_pids(run_dir).get(name)
        return pid is not None and ports <= get_listening_ports(pid)

    wait_until_ready(run_dir, [name], is_prepared, seconds=_READY_SECONDS)


def _wait_until_active(run_dir: RunDir, admin_port: int, config: bytes) -> None:
    """Return when a supervised process serves with `config`."""
    expected = hashlib.sha256(config).hexdigest()

    def is_active() -> bool:
        response = get_json(admin_port, "/healthz")
        if response is None or response[0] != 200:
            return False
        health = response[1]
        is_own = health.get("pid") in supervisord.get_pids(run_dir).values()
        return bool(is_own and health["config_sha256"] == expected and health["ready"])

    wait_until_ready(run_dir, PROCESSES, is_active, seconds=_READY_SECONDS)


def _listener(port: str) -> str:
    """Return the name of the output with the port that the gateway listens on."""
    return f"{port.removesuffix('_port')}_listener_port"


def _choose_port(
    configured: float | None, previous: float | None, own_ports: Collection[int]
) -> int:
    """Return the configured port, or the previous port if it is free, or a free port."""

    def is_usable(port: float) -> bool:
        return int(port) in own_ports or not is_port_taken(int(port))

    if configured is not None:
        if not is_usable(configured):
            raise RuntimeError(_port_in_use(configured))
        return int(configured)
    if previous is not None and is_usable(previous):
        return int(previous)
    return find_free_port()


def _port_in_use(port: float) -> str:
    return (
        f"Port {int(port)} on {LOOPBACK} is in use by another program. Stop that program, or set "
        "a different port in berth:local (null selects a free port)."
    )


def _own_ports(run_dir: RunDir) -> set[int]:
    """Return the ports that this stack's gateway listens on."""
    pids = {pid for name, pid in supervisord.get_pids(run_dir).items() if name in PROCESSES}
    pids |= {each.pid for each, name in find_processes(run_dir).items() if name in PROCESSES}
    return set().union(*map(get_listening_ports, pids))
