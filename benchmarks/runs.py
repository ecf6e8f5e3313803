"""Helpers of the benchmarks of whole stacks: measured commands, and cells of tables."""

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.measured_command import CommandRun, run_command
from tests.engine.project import Project

MINUTES = 10.0
_EMPTY_ROUNDS = 3


def berth(project: Project, *arguments: str, minutes: float = MINUTES) -> CommandRun:
    """Run `berth ARGUMENTS` on the project's stack and measure it."""
    return run_command(
        [sys.executable, "-m", "berth", *arguments, "-s", project.stack],
        folder=project.root,
        environment=project.environment,
        log=project.root / f"{arguments[0]}.log",
        limit_seconds=minutes * 60,
    )


def describe_failure(run: CommandRun, minutes: float) -> str:
    """Return why a command failed."""
    if run.code is None:
        return f"not finished in {minutes:g} minutes"
    return f"exit status {run.code}: {run.log.read_text()[-2000:]}"


def say(message: str) -> None:
    """Print progress on stderr."""
    print(message, file=sys.stderr, flush=True)


def empty_preview(folder: Path) -> float:
    """Return the median seconds of `pulumi preview` for a Python program without resources."""
    project = Project.copy_to(folder / "empty", "empty")
    (project.root / "infra" / "__main__.py").write_text("import pulumi\n")
    (project.root / "Pulumi.empty.yaml").write_text("config: {}\n")
    project.pulumi("stack", "init", "empty")
    environment = project.environment | {
        "PULUMI_BACKEND_URL": f"file://{project.root}/.berth/state",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(project.root / ".berth" / "passphrase"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    results = [
        run_command(
            ["pulumi", "preview", "--stack", "empty", "--non-interactive"],
            folder=project.root,
            environment=environment,
            log=project.root / "preview.log",
            limit_seconds=MINUTES * 60,
        )
        for _ in range(_EMPTY_ROUNDS)
    ]
    if any(run.code != 0 for run in results):
        raise RuntimeError(f"the empty program: {describe_failure(results[-1], MINUTES)}")
    return statistics.median(run.seconds for run in results)


def describe_machine() -> str:
    """Return the machine and the engine that the numbers were measured on."""
    version = subprocess.run(["pulumi", "version"], capture_output=True, text=True, check=True)
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Pulumi {version.stdout.strip()}"


def format_cells(values: Sequence[float | None]) -> list[str]:
    """Return each value with its ratio to the first."""
    first = values[0]
    return [
        "-"
        if value is None
        else f"{value:,.1f}" + (f" (x{value / first:.1f})" if number and first else "")
        for number, value in enumerate(values)
    ]


def format_ratios(values: Sequence[float | None], unit: float) -> list[str]:
    """Return the ratio of each value to `unit`."""
    return ["-" if value is None else f"x{value / unit:.1f}" for value in values]
