"""The serving process of one model version under the supervisor: plain functions, no Pulumi."""

import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from berth_protocol.paths import model_ready_path
from pulumi_berth.local import supervisord
from pulumi_berth.local.loopback import LOOPBACK, find_free_port, get_json, is_port_taken
from pulumi_berth.local.readiness import NotReadyError, wait_until_ready
from pulumi_berth.local.run_dir import RunDir
from pulumi_berth.program_source import program_environment

INPUTS = ("run_dir", "model", "version", "model_dir", "digest", "program_digest", "environment")
"""Inputs of the resource. A change of any of them starts a new process."""

# A large model loads and warms up in tens of seconds on a laptop.
_READY_SECONDS = 120.0
# Another process can take a free port before the berth listens on it.
_PORT_ATTEMPTS = 5


def start_new(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Start a process on a free port and wait until it is ready.

    Returns:
        The outputs of the resource: `process`, `port`, `url` and `running`.

    Raises:
        NotReadyError: If the process exits or is not ready in time.
    """
    run_dir = RunDir(Path(inputs["run_dir"]))
    # Each instance has a unique name, because a changed berth runs next to its predecessor.
    name = f"{inputs['model']}-{inputs['version']}-{secrets.token_hex(3)}"
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        port = find_free_port()
        try:
            return run(run_dir, name, port, inputs)
        except NotReadyError:
            supervisord.remove(run_dir, name)
            if not is_port_taken(port) or attempt == _PORT_ATTEMPTS:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def run(run_dir: RunDir, name: str, port: int, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Run the process `name` on `port` if it does not run, and wait until it is ready.

    Returns:
        The outputs of the resource, as from `start_new`.
    """
    supervisord.add(
        run_dir,
        supervisord.Program(
            name=name,
            command=[sys.executable, "-P", "-m", "berth_serving"],
            directory=run_dir.path,
            environment={
                **program_environment("berth_serving"),
                **_settings(run_dir, port, inputs),
            },
            grace_seconds=float(inputs["environment"]["BERTH_GRACE_SECONDS"]),
        ),
    )
    path = model_ready_path(inputs["model"], inputs["version"])

    def is_ready() -> bool:
        response = get_json(port, path)
        return response is not None and response[0] == 200

    wait_until_ready(run_dir, [name], is_ready, seconds=_READY_SECONDS)
    return {"process": name, "port": port, "url": f"http://{LOOPBACK}:{port}", "running": True}


def find_drift(name: str, outputs: Mapping[str, Any], *, is_alive: bool) -> str | None:
    """Return how the process differs from the one that was deployed, or None.

    Args:
        name: Name of the process in the supervisor.
        outputs: Inputs and outputs of the resource.
        is_alive: Whether the supervisor keeps the process running.
    """
    run_dir = RunDir(Path(outputs["run_dir"]))
    if not is_alive:
        is_left = name in supervisord.get_orphans(run_dir)
        return f"{name} runs without its supervisor" if is_left else None
    if supervisord.is_declared(run_dir, name, _settings(run_dir, int(outputs["port"]), outputs)):
        return None
    return f"{name} runs, or will be restarted, with other settings than those that were deployed"


def _settings(run_dir: RunDir, port: int, inputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables that configure the berth."""
    return {
        **inputs["environment"],
        "BERTH_MODEL_DIR": inputs["model_dir"],
        "BERTH_HOST": LOOPBACK,
        "BERTH_PORT": str(port),
        "BERTH_TOKEN_FILE": str(run_dir.token),
    }
