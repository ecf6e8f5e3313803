"""`berth up` and `destroy`, and what is told of a stack afterwards."""

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.operations.invoke import Answer, invoke
from berth.operations.stack import Stack
from berth.platforms.stack_context import SkippedPart
from berth.spec import HostingSpec, version_directory
from berth_protocol.model_card import read_card
from berth_protocol.paths import infer_path

_FIRST_CALL_SECONDS = 15.0
_AGAIN_SECONDS = 0.25


def up(stack: Stack, *, yes: bool, skipped: Sequence[SkippedPart] = ()) -> int:
    """Bring the stack to its configuration; the engine's exit code."""
    stack.create()
    return stack.up(*_arguments(yes, skipped))


def destroy(stack: Stack, *, yes: bool, skipped: Sequence[SkippedPart] = ()) -> int:
    """Remove what the stack made; the engine's exit code. A stack that never was is no error."""
    if not stack.exists():
        return 0
    return stack.destroy(*_arguments(yes, skipped))


def exclusions(parts: Sequence[SkippedPart]) -> list[str]:
    """The engine's arguments that leave `parts`, and what hangs on them, as they are."""
    found = [argument for part in parts for argument in ("--exclude", part.urns)]
    return [*found, "--exclude-dependents"] if found else []


def _arguments(yes: bool, parts: Sequence[SkippedPart]) -> list[str]:
    return [*(["--yes"] if yes else []), *exclusions(parts)]


def shown(stack: Stack, outputs: dict[str, Any]) -> dict[str, Any]:
    """What may be shown of a stack: its outputs without the keys, and its latest update."""
    latest = stack.history()[-1]
    return {
        "stack": stack.name,
        "endpoint": outputs["endpoint"],
        "metrics": outputs.get("metrics", "in the cluster, for its own scraper"),
        "update": {
            "number": latest.number,
            "result": "succeeded" if latest.succeeded else "failed",
            "ended": latest.ended,
            "changes": dict(latest.changes),
        },
        "models": outputs["models"],
    }


def first_call(root: Path, spec: HostingSpec, outputs: dict[str, Any], *, stack: str) -> str:
    """The endpoint, a request that works as it stands, and the answer that it just gave."""
    model, entry = next(iter(spec.models.items()))
    version = next(iter(entry.traffic))
    request = read_card(
        version_directory(root, model, version, entry.versions[version].path)
    ).example
    answer = _answered(outputs, model, request)
    key = "./berth key" + ("" if stack == "local" else f" -s {stack}")
    return "\n".join(
        [
            "",
            f"Serving at {outputs['endpoint']}",
            "",
            f"curl -s {outputs['endpoint']}{infer_path(model)} "
            f'-H "x-api-key: $({key})" -H "content-type: application/json" '
            f"-d {shlex.quote(json.dumps(request, separators=(',', ':')))}",
            "",
            json.dumps(answer.body),
        ]
    )


def _answered(outputs: dict[str, Any], model: str, request: dict[str, Any]) -> Answer:
    """The answer; asked again for a while, since a cluster's gateway learns of a route, and its
    nodes of an address, a moment after they are made."""
    give_up = time.monotonic() + _FIRST_CALL_SECONDS
    while True:
        last = time.monotonic() > give_up
        try:
            answer = invoke(outputs, model, request)
        except OperationError:
            if last:
                raise
        else:
            if answer.status == 200 or last:
                return answer
        time.sleep(_AGAIN_SECONDS)


def status_table(found: dict[str, Any]) -> str:
    """The status for a person."""
    lines = [
        f"stack     {found['stack']} (update {found['update']['number']} "
        f"{found['update']['result']}, {found['update']['ended']})",
        f"endpoint  {found['endpoint']} (gateway {found['gateway']})",
        f"metrics   {found['metrics']}",
        "",
        f"{'MODEL':<20} {'VERSION':<10} {'STATE':<10} {'TRAFFIC':>7}  {'EXPOSED':<7}  DIGEST",
    ]
    for model, entry in found["models"].items():
        for version, berth in entry["versions"].items():
            traffic = "shadow" if version == entry["shadow"] else f"{berth['traffic']:g} %"
            exposed = "yes" if berth["exposed"] else "no"
            lines.append(
                f"{model:<20} {version:<10} {berth['state']:<10} {traffic:>7}  {exposed:<7}  "
                f"{berth['digest'][:19]}"
            )
    return "\n".join(lines)
