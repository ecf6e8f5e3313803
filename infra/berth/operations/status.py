"""The summary of a stack, and its status as text."""

from collections.abc import Sequence
from typing import Any

from berth.operations.update import Update


def summarize_stack(name: str, outputs: dict[str, Any], latest: Update) -> dict[str, Any]:
    """Return the stack's outputs without API keys, and its latest update."""
    return {
        "stack": name,
        "endpoint": outputs["endpoint"],
        **_select(outputs, "parent_gateway"),
        "metrics": outputs.get("metrics", "in the cluster, for its own scraper"),
        "update": {
            "number": latest.number,
            "result": "succeeded" if latest.succeeded else "failed",
            "ended": latest.ended,
            "changes": dict(latest.changes),
        },
        "models": outputs["models"],
    }


def _select(outputs: dict[str, Any], key: str) -> dict[str, Any]:
    return {key: outputs[key]} if key in outputs else {}


def format_status(status: dict[str, Any], rollouts: Sequence[str] = ()) -> str:
    """Return the status as text.

    Args:
        rollouts: A line for each rollout that has not ended.
    """
    lines = [
        f"stack     {status['stack']} (update {status['update']['number']} "
        f"{status['update']['result']}, {status['update']['ended']})",
        f"endpoint  {status['endpoint']} (gateway {status['gateway']})",
        *_format_parent(status.get("parent_gateway")),
        f"metrics   {status['metrics']}",
        *(f"rollout   {line}" for line in rollouts),
        *(f"note      {note}" for note in status.get("notes", [])),
        "",
        f"{'MODEL':<20} {'VERSION':<10} {'STATE':<10} {'TRAFFIC':>7}  {'EXPOSED':<7}  DIGEST",
    ]
    for model, entry in status["models"].items():
        for version, berth in entry["versions"].items():
            traffic = "shadow" if version == entry["shadow"] else f"{berth['traffic']:g} %"
            exposed = "yes" if berth["exposed"] else "no"
            lines.append(
                f"{model:<20} {version:<10} {berth['state']:<10} {traffic:>7}  {exposed:<7}  "
                f"{berth['digest'][:19]}"
            )
    return "\n".join(lines)


def _format_parent(parent: dict[str, str] | None) -> list[str]:
    """Return the line about the Gateway of someone else that receives the stack's requests."""
    if parent is None:
        return []
    listener = f", listener {parent['section_name']}" if "section_name" in parent else ""
    return [f"through   Gateway {parent['namespace']}/{parent['name']}{listener}"]
