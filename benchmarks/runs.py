"""What the benchmarks of whole stacks share: commands on a project, measured, and their figures."""

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.watched import Watched, watch
from tests.engine.project import Project

MINUTES = 10.0
_EMPTY_ROUNDS = 3


def berth(project: Project, *arguments: str, minutes: float = MINUTES) -> Watched:
    """`berth ARGUMENTS` on the project's stack."""
    return watch(
        [sys.executable, "-m", "berth", *arguments, "-s", project.stack],
        folder=project.root,
        environment=project.environment,
        log=project.root / f"{arguments[0]}.log",
        limit_seconds=minutes * 60,
    )


def ending(done: Watched, minutes: float) -> str:
    """Why a command did not come to a good end, as text."""
    if done.code is None:
        return f"not done in {minutes:g} minutes"
    return f"exit {done.code}: {done.log.read_text()[-2000:]}"


def say(message: str) -> None:
    """Progress, beside the figures."""
    print(message, file=sys.stderr, flush=True)


def empty_preview(folder: Path) -> float:
    """Seconds of `pulumi preview` for a Python program that declares nothing; the median."""
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
    found = [
        watch(
            ["pulumi", "preview", "--stack", "empty", "--non-interactive"],
            folder=project.root,
            environment=environment,
            log=project.root / "preview.log",
            limit_seconds=MINUTES * 60,
        )
        for _ in range(_EMPTY_ROUNDS)
    ]
    if any(done.code != 0 for done in found):
        raise RuntimeError(f"the empty program: {ending(found[-1], MINUTES)}")
    return statistics.median(done.seconds for done in found)


def machine() -> str:
    """What the figures were measured on."""
    version = subprocess.run(["pulumi", "version"], capture_output=True, text=True, check=True)
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Pulumi {version.stdout.strip()}"


def cells(values: Sequence[float | None]) -> list[str]:
    """Each value, and how many times the first it is."""
    first = values[0]
    return [
        "-"
        if value is None
        else f"{value:,.1f}" + (f" (x{value / first:.1f})" if number and first else "")
        for number, value in enumerate(values)
    ]


def times(values: Sequence[float | None], unit: float) -> list[str]:
    """Each value as how many times `unit` it is."""
    return ["-" if value is None else f"x{value / unit:.1f}" for value in values]
