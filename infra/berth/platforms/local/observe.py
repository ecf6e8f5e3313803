"""The state and the logs of a running local stack."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from berth.platforms.local.platform import run_directory
from berth.platforms.stack_context import StackContext
from berth_protocol.headers import TOKEN
from berth_protocol.paths import CAPTURED, READY, model_ready_path
from pulumi_berth.local import berth_process, gateway_process, supervisord
from pulumi_berth.local.loopback import get_json, get_text
from pulumi_berth.local.run_dir import RunDir
from pulumi_berth.local.stack_processes import find_processes

_FOLLOW_SECONDS = 0.2
_METRICS = "/metrics"
# Twice the largest `capture.max_bytes`.
_CAPTURED_BYTES = 32 << 20
# State of a process whose supervisor does not run or does not respond.
_UNSUPERVISED = "UNSUPERVISED"
# The states of processes that can respond, the most promising first.
_BEST_STATES = ("RUNNING", _UNSUPERVISED, "STARTING", "BACKOFF")


def observe(context: StackContext, outputs: dict[str, Any]) -> dict[str, Any]:
    """Return the state of the gateway and of each model version.

    The state is `ready`, `not ready` (running, but without a response or still loading),
    `restarting` (the process crashed and the supervisor starts it again) or `stopped` (the next
    `up` starts it). The processes themselves are asked: they also serve after their supervisor was
    killed, which `notes` then contains.
    """
    run_dir = _run_dir(context)
    states, notes = _get_supervisor_states(run_dir)
    models = {
        model: {
            "versions": {
                version: {
                    "state": _get_state(
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
    gateway_states = {states.get(name) for name in gateway_process.PROCESSES}
    best = next((state for state in _BEST_STATES if state in gateway_states), None)
    is_declared = outputs["endpoint"].startswith("http")
    gateway = _get_state(best, outputs["endpoint"], READY) if is_declared else "not deployed"
    return {"gateway": gateway, "models": models, "notes": notes}


def _get_supervisor_states(run_dir: RunDir) -> tuple[dict[str, str], list[str]]:
    """Return the state of each process by name, and what is wrong with the supervisor."""
    try:
        if supervisord.is_running(run_dir):
            return supervisord.get_states(run_dir), []
    except supervisord.SupervisorError as error:
        return dict.fromkeys(set(find_processes(run_dir).values()), _UNSUPERVISED), [str(error)]
    processes = set(find_processes(run_dir).values())
    if not processes:
        return {}, []
    return dict.fromkeys(processes, _UNSUPERVISED), [
        "The process supervisor is not running, so a process that ends is not started again. "
        "Run 'berth up' to replace the processes without a failed request."
    ]


def read_metrics(_context: StackContext, outputs: dict[str, Any]) -> dict[str, str]:
    """Return the metrics of the gateway and of each berth that responds, by process."""
    urls = {"gateway": outputs["metrics"]} | {
        berth["process"]: f"{berth['url']}{_METRICS}"
        for entry in outputs["models"].values()
        for berth in entry["versions"].values()
    }
    texts = {name: get_text(urlsplit(url).port or 80, _METRICS) for name, url in urls.items()}
    return {name: text for name, text in texts.items() if text is not None}


def read_captured(
    context: StackContext, outputs: dict[str, Any], model: str, version: str
) -> list[str]:
    """Return the captured requests of a version, which has one process."""
    url = outputs["models"][model]["versions"][version]["url"]
    token = _run_dir(context).token.read_text().strip()
    text = get_text(urlsplit(url).port or 80, CAPTURED, {TOKEN: token}, limit=_CAPTURED_BYTES)
    return [] if text is None else [text]


def find_drift(context: StackContext, resources: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what runs differently than the last update left it, one line each.

    Args:
        resources: Type, ID and outputs of each resource in the state.
    """
    run_dir = _run_dir(context)
    try:
        if not supervisord.is_running(run_dir):
            return ["the process supervisor is not running"] if resources else []
        states = supervisord.get_states(run_dir)
    except supervisord.SupervisorError as error:
        return [str(error)]
    drift: list[str] = []
    for resource in resources:
        kind = str(resource["type"]).rpartition(":")[2]
        name, outputs = str(resource["id"]), resource["outputs"]
        if kind == "BerthProcess":
            is_alive = states.get(name) in supervisord.ALIVE_STATES
            found = berth_process.find_drift(name, outputs, is_alive=is_alive)
            drift.append(found or ("" if is_alive else f"{name} does not run"))
        elif kind == "GatewayProcess":
            missing = [
                each
                for each in gateway_process.PROCESSES
                if states.get(each) not in supervisord.ALIVE_STATES
            ]
            found = gateway_process.find_drift(run_dir, outputs)
            drift += [*(f"{each} does not run" for each in missing), found or ""]
    return [line for line in drift if line]


def build_partial_outputs(
    context: StackContext, resources: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return the outputs of a stack whose first update failed, from the resources that exist."""
    endpoint = "none"
    models: dict[str, Any] = {}
    for resource in resources:
        kind, outputs = str(resource["type"]).rpartition(":")[2], resource["outputs"]
        if kind == "GatewayProcess":
            endpoint = outputs["endpoint"]
        elif kind == "BerthProcess":
            model, version = str(outputs["model"]), str(outputs["version"])
            declared = context.spec.models.get(model)
            entry = models.setdefault(model, {"versions": {}, "shadow": None})
            entry["versions"][version] = {
                **{key: outputs[key] for key in ("digest", "process", "url")},
                "traffic": declared.traffic.get(version, 0) if declared else 0,
                "exposed": declared is not None and version in declared.exposed_versions,
            }
    if not models and endpoint == "none":
        return None
    return {"endpoint": endpoint, "metrics": "none", "models": models}


def read_logs(
    context: StackContext,
    outputs: dict[str, Any],
    *,
    model: str | None,
    version: str | None,
    last: int,
    follow: bool,
) -> Iterator[tuple[str, str]]:
    """Yield the name of a process and a line of its log, the last `last` lines of each process.

    With `follow`, continue with each line that is written from then on.
    """
    paths = _find_logs(_run_dir(context), outputs, model, version)
    for path in paths:
        for line in path.read_text(errors="replace").splitlines()[-last:]:
            yield path.stem, line
    if follow and paths:
        yield from _follow(paths)


def _run_dir(context: StackContext) -> RunDir:
    return RunDir(run_directory(context.root, context.stack))


def _find_logs(
    run_dir: RunDir, outputs: dict[str, Any], model: str | None, version: str | None
) -> list[Path]:
    """Return the logs of a model version, of all versions of a model, or of all processes."""
    if model is None:
        return sorted(run_dir.logs.glob("*.log"))
    versions = outputs["models"].get(model, {"versions": {}})["versions"]
    berths = [berth for name, berth in versions.items() if version in (None, name)]
    paths = [run_dir.log(berth["process"]) for berth in berths]
    return [path for path in paths if path.exists()]


def _follow(paths: list[Path]) -> Iterator[tuple[str, str]]:
    """Yield new lines without end."""
    positions = {path: path.stat().st_size for path in paths}
    while True:
        for path in paths:
            try:
                size = path.stat().st_size
                if size < positions[path]:
                    positions[path] = 0  # The supervisor rotated the file.
                with path.open(errors="replace") as stream:
                    stream.seek(positions[path])
                    for line in stream:
                        yield path.stem, line.rstrip("\n")
                    positions[path] = stream.tell()
            except FileNotFoundError:
                continue  # An update removed the process.
        time.sleep(_FOLLOW_SECONDS)


def _get_state(supervisor_state: str | None, url: str, ready_path: str) -> str:
    if supervisor_state == "BACKOFF":
        return "restarting"
    if supervisor_state not in _BEST_STATES:
        return "stopped"
    response = get_json(urlsplit(url).port or 80, ready_path)
    return "ready" if response is not None and response[0] == 200 else "not ready"
