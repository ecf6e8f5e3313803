"""`berth monitoring`: files with the Grafana dashboard and the Prometheus rules of a stack."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from berth.errors import OperationError
from berth.platforms import get_platform
from berth.platforms.stack_context import StackContext
from pulumi_berth.files import replace_atomically
from pulumi_berth.monitoring.grafana_dashboard import MARKER, build_dashboard
from pulumi_berth.monitoring.prometheus_rules import build_rules, list_alerts
from pulumi_berth.monitoring.scraped_stack import ScrapedStack, Thresholds

DASHBOARD, RULES = "dashboard.json", "rules.yaml"
# The marker is in the first lines of both files.
_HEAD_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """What Grafana and Prometheus load for a stack.

    Attributes:
        stack: The stack as Prometheus sees it.
        files: Content of each file by name.
        alerts: Names of the alerts.
    """

    stack: ScrapedStack
    files: Mapping[str, str]
    alerts: list[str]


def build_monitoring(context: StackContext, labels: Mapping[str, str] | None = None) -> Monitoring:
    """Return the dashboard and the rules of a stack. Contacts nothing.

    Args:
        labels: Labels that select the stack's series, instead of those of its platform. None or
            empty keeps those.
    """
    stack = get_platform(context.spec.platform).describe_scraped(context)
    if labels:
        stack = replace(stack, labels=dict(labels))
    alarms = context.spec.observability.alarms
    thresholds = Thresholds(
        error_percent=alarms.error_percent,
        latency_p99_ms=alarms.latency_p99_ms,
        minutes=alarms.minutes,
    )
    rules = build_rules(stack, thresholds)
    text = yaml.safe_dump(rules, sort_keys=False, width=10_000, allow_unicode=True)
    return Monitoring(
        stack=stack,
        files={
            DASHBOARD: json.dumps(build_dashboard(stack, thresholds), indent=2) + "\n",
            RULES: f"# {MARKER}\n{text}",
        },
        alerts=list_alerts(rules),
    )


def write_files(monitoring: Monitoring, directory: Path) -> None:
    """Write the files into a directory, which is created if necessary.

    Raises:
        OperationError: If a file there was not generated, or cannot be written. No generated file
            is then replaced.
    """
    paths = {directory / name: text for name, text in monitoring.files.items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in paths:
            if path.exists() and not _is_generated(path):
                raise OperationError(
                    f"{path} was not written by 'berth monitoring'. Nothing was changed. Choose "
                    "another directory with --into, or move the file."
                )
        for path, text in paths.items():
            replace_atomically(path, text, mode=0o644)
    except OSError as error:
        raise OperationError(
            f"Cannot write to {error.filename or directory}: {error.strerror}. Choose another "
            "directory with --into."
        ) from error


def _is_generated(path: Path) -> bool:
    with path.open("rb") as file:
        return MARKER.encode() in file.read(_HEAD_BYTES)


def as_json(monitoring: Monitoring, directory: Path) -> dict[str, Any]:
    """Return what was written, as a JSON document."""
    return {
        "stack": monitoring.stack.stack,
        "dashboard": str(directory / DASHBOARD),
        "dashboard_uid": monitoring.stack.uid,
        "rules": str(directory / RULES),
        "labels": dict(monitoring.stack.labels),
        "alerts": monitoring.alerts,
    }


def format_text(monitoring: Monitoring, directory: Path) -> str:
    """Return how to load the files that were written."""
    labels = monitoring.stack.labels
    shown = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    selected = (
        f"The queries select the series with {shown}."
        if labels
        else "The queries select all of Berth's series. If Prometheus reads several stacks, add a "
        "label in its\nscrape configuration, and name it with --label NAME=VALUE."
    )
    rules = (directory / RULES).resolve()
    return (
        f"Wrote {directory / DASHBOARD} and {directory / RULES} with {len(monitoring.alerts)} "
        f"alerts.\n\nPrometheus: add the file to its configuration, then reload it:\n\n"
        f"  rule_files:\n    - {rules}\n\n"
        "Grafana: choose Dashboards > New > Import, and upload dashboard.json; or copy it into a\n"
        f"directory that Grafana provisions.\n\n{selected}"
    )
