"""`berth up` and `destroy`, and what is told of a stack afterwards."""

import json
import shlex
from pathlib import Path
from typing import Any

from infra.model_store import version_directory
from infra.operations.invoke import invoke
from infra.operations.stack import Stack
from infra.spec import HostingSpec
from serving_app.card import read_card


def up(stack: Stack, *, yes: bool) -> int:
    """Bring the stack to its configuration; the engine's exit code."""
    stack.create()
    return stack.up("--yes") if yes else stack.up()


def destroy(stack: Stack, *, yes: bool) -> int:
    """Remove what the stack made; the engine's exit code. A stack that never was is no error."""
    if not stack.exists():
        return 0
    return stack.destroy("--yes") if yes else stack.destroy()


def shown(stack: Stack, outputs: dict[str, Any]) -> dict[str, Any]:
    """What may be shown of a stack: its outputs without the keys, and its latest update."""
    latest = stack.history()[-1]
    return {
        "stack": stack.name,
        "endpoint": outputs["endpoint"],
        "metrics": outputs["metrics"],
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
    answer = invoke(outputs, model, request)
    key = "./berth key" + ("" if stack == "local" else f" -s {stack}")
    return "\n".join(
        [
            "",
            f"Serving at {outputs['endpoint']}",
            "",
            f"curl -s {outputs['endpoint']}/v2/models/{model}/infer "
            f'-H "x-api-key: $({key})" -H "content-type: application/json" '
            f"-d {shlex.quote(json.dumps(request, separators=(',', ':')))}",
            "",
            json.dumps(answer.body),
        ]
    )


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
