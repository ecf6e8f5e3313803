"""What of a local stack runs right now, and what it wrote."""

import http.client
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from berth.platforms.local.deploy import run_folder
from berth.platforms.stack_context import StackContext
from berth_protocol.paths import READY, model_ready_path
from pulumi_berth.local import supervisord
from pulumi_berth.local.readiness import get_json
from pulumi_berth.local.run_dir import RunDir

_FOLLOW_SECONDS = 0.2


def observe(context: StackContext, outputs: dict[str, Any]) -> dict[str, Any]:
    """The stack's models with the state of each version, and the gateway's.

    A state is `ready`, `not ready` (running, not answering or still loading), `restarting` (it
    crashed and the supervisor starts it again) or `stopped` (the next `up` mends it).
    """
    states = supervisord.states(_run_dir(context))
    models = {
        model: {
            "versions": {
                version: {
                    "state": _state(
                        states.get(berth["process"]),
                        berth["url"],
                        model_ready_path(model, version),
                    ),
                    **{key: berth[key] for key in ("traffic", "exposed", "digest", "url")},
                }
                for version, berth in entry["versions"].items()
            },
            "shadow": entry["shadow"],
        }
        for model, entry in outputs["models"].items()
    }
    gateway = _state(states.get("gateway"), outputs["endpoint"], READY)
    return {"gateway": gateway, "models": models}


def log_lines(
    context: StackContext,
    outputs: dict[str, Any],
    *,
    model: str | None,
    version: str | None,
    last: int,
    follow: bool,
) -> Iterator[tuple[str, str]]:
    """The process and a line of its log, for the last lines of each and, to `follow`, all that
    are written from now on."""
    paths = _log_files(_run_dir(context), outputs, model, version)
    for path in paths:
        for line in path.read_text(errors="replace").splitlines()[-last:]:
            yield path.stem, line
    if follow and paths:
        yield from _written(paths)


def explain(_context: StackContext) -> list[str]:
    """Nothing: here the resource itself says what its process wrote last."""
    return []


def _run_dir(context: StackContext) -> RunDir:
    return RunDir(run_folder(context.root, context.stack))


def _log_files(
    run_dir: RunDir, outputs: dict[str, Any], model: str | None, version: str | None
) -> list[Path]:
    """The logs of a model version, of all of a model's versions, or of everything that runs."""
    if model is None:
        return sorted(run_dir.logs.glob("*.log"))
    versions = outputs["models"].get(model, {"versions": {}})["versions"]
    chosen = [berth for name, berth in versions.items() if version in (None, name)]
    paths = [run_dir.log(berth["process"]) for berth in chosen]
    return [path for path in paths if path.exists()]


def _written(paths: list[Path]) -> Iterator[tuple[str, str]]:
    """Lines as they are written, from now on, without end."""
    positions = {path: path.stat().st_size for path in paths}
    while True:
        for path in paths:
            try:
                size = path.stat().st_size
                if size < positions[path]:
                    positions[path] = 0  # rotated
                with path.open(errors="replace") as stream:
                    stream.seek(positions[path])
                    for line in stream:
                        yield path.stem, line.rstrip("\n")
                    positions[path] = stream.tell()
            except FileNotFoundError:
                continue  # its process was removed meanwhile
        time.sleep(_FOLLOW_SECONDS)


def _state(supervised: str | None, url: str, ready_path: str) -> str:
    if supervised == "BACKOFF":
        return "restarting"
    if supervised not in supervisord.ALIVE:
        return "stopped"
    try:
        status, _ = get_json(urlsplit(url).port or 80, ready_path)
    except (OSError, http.client.HTTPException):
        return "not ready"
    return "ready" if status == 200 else "not ready"
