"""The gateway's process under the supervisor: plain functions, no Pulumi."""

import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from berth_gateway.config import convert_config, encode_config
from pulumi_berth.files import replace_atomically
from pulumi_berth.local import supervisord
from pulumi_berth.local.loopback import LOOPBACK, find_free_port, get_json, is_port_taken
from pulumi_berth.local.readiness import read_last_log_lines, wait_until_ready
from pulumi_berth.local.run_dir import RunDir
from pulumi_berth.program_source import program_environment

PROCESS = "gateway"
"""Name of the gateway's process in the supervisor."""
PORTS = ("gateway_port", "admin_port")
RESTART_INPUTS = ("run_dir", "program_digest", *PORTS)
"""Inputs whose change needs a new process. A running gateway reloads all others."""
INPUTS = (*RESTART_INPUTS, "config", "berths")

_READY_SECONDS = 30.0
_GRACE_SECONDS = 30.0


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
    """Start the gateway and wait until it is ready.

    Args:
        previous: Outputs of the previous process. Its ports are used again if they are free and
            the inputs configure no port.

    Returns:
        The outputs of the resource.
    """
    supervisord.remove(run_dir, PROCESS)
    config = encode_config(convert_config(inputs["config"]))
    replace_atomically(run_dir.gateway_config, config)
    ports = {key: _choose_port(inputs.get(key), previous.get(_listener(key))) for key in PORTS}
    supervisord.add(
        run_dir,
        supervisord.Program(
            name=PROCESS,
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
            },
            grace_seconds=_GRACE_SECONDS,
        ),
    )
    try:
        _wait_until_active(run_dir, ports["admin_port"], config)
    except Exception:
        supervisord.remove(run_dir, PROCESS)
        raise
    return {
        **{_listener(key): port for key, port in ports.items()},
        "endpoint": f"http://{LOOPBACK}:{ports['gateway_port']}",
        "running": True,
    }


def reload(run_dir: RunDir, inputs: Mapping[str, Any], admin_port: int) -> None:
    """Replace the configuration of the running gateway. No connection is dropped.

    Raises:
        RuntimeError: If the gateway rejects the configuration. It keeps the previous one.
    """
    config = encode_config(convert_config(inputs["config"]))
    previous = run_dir.gateway_config.read_bytes() if run_dir.gateway_config.exists() else None
    replace_atomically(run_dir.gateway_config, config)
    supervisord.reload(run_dir, PROCESS)
    try:
        _wait_until_active(run_dir, admin_port, config)
    except Exception as error:
        # The gateway still runs with the previous configuration; a restart must read it too.
        if previous is not None:
            replace_atomically(run_dir.gateway_config, previous)
        raise RuntimeError(
            "The gateway rejected its new configuration and keeps the previous one. Its last log "
            f"lines: {read_last_log_lines(run_dir, PROCESS)}"
        ) from error


def find_undeclared(states: Mapping[str, str], berths: list[str]) -> list[str]:
    """Return the supervised processes without a resource. An interrupted `up` leaves them."""
    return sorted(set(states) - set(berths) - {PROCESS})


def _wait_until_active(run_dir: RunDir, admin_port: int, config: bytes) -> None:
    expected = hashlib.sha256(config).hexdigest()

    def is_active() -> bool:
        response = get_json(admin_port, "/healthz")
        if response is None or response[0] != 200:
            return False
        health = response[1]
        return bool(health["config_sha256"] == expected and health["ready"])

    wait_until_ready(run_dir, PROCESS, is_active, seconds=_READY_SECONDS)


def _listener(port: str) -> str:
    """Return the name of the output with the port that the gateway listens on."""
    return f"{port.removesuffix('_port')}_listener_port"


def _choose_port(configured: float | None, previous: float | None) -> int:
    """Return the configured port, or the previous port if it is free, or a free port."""
    if configured is not None:
        if is_port_taken(int(configured)):
            raise RuntimeError(_port_in_use(configured))
        return int(configured)
    if previous is not None and not is_port_taken(int(previous)):
        return int(previous)
    return find_free_port()


def _port_in_use(port: float) -> str:
    return (
        f"Port {int(port)} on {LOOPBACK} is in use by another program. Stop that program, or set "
        "a different port in berth:local (null selects a free port)."
    )


def _own_ports(run_dir: RunDir) -> set[int]:
    """Return the ports that this stack's gateway listens on."""
    pid = supervisord.get_pids(run_dir).get(PROCESS)
    if pid is None:
        return set()
    return {c.laddr.port for c in psutil.Process(pid).net_connections("tcp") if c.laddr}
