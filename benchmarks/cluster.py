"""How `berth preview` and `berth up` grow with the number of berths on a cluster of 200 fake nodes.

    python -m benchmarks.cluster [SIZE ...] [--json]

A real API server, scheduler and controllers, whose nodes are kwok's and say of every pod at once
that it is ready: what is measured is Berth, the engine and the cluster's own bookkeeping, not the
start of models. Needs root and the `cluster` tool; a size of 1,000 takes most of an hour. What can
be compared across machines is the ratios: to the smallest size, and to the preview of an empty
program by the same engine in the same run.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.many_models import (
    NODES,
    add_models,
    add_nodes,
    change_weights,
    many_models,
    one_model,
    write_stack_file,
)
from benchmarks.watched import Watched, watch
from tests.cluster.cluster import Cluster, start, why_not
from tests.engine.project import Project

_NAME, _NET = "berth-bench", "10.128"
_STATE = Path(tempfile.gettempdir()) / "berth-bench"  # short: a socket's path has 107 characters
_SIZES = (10, 100)
_EMPTY_ROUNDS = 3
_MINUTES = 10.0
_STEPS = ("first preview", "up", "unchanged preview", "preview of new weights", "new weights")
_PREVIEWS = ("first preview", "unchanged preview", "preview of new weights")
_ROLES = ("engine", "program", "language host", "kubernetes provider")


@dataclass
class Size:
    """What was measured with this many berths.

    Attributes:
        resources: of the stack, as its state counts them.
        seconds: of each step that came to its end.
        peaks: role of a process -> bytes that it held at most, over all steps.
        note: why there is no more, where a step did not come to its end.
    """

    berths: int
    resources: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    note: str = ""


class _StepError(RuntimeError):
    """A step that failed, or was not done in time."""


class _Bench:
    """One stack of `berths` berths, and what became of it."""

    def __init__(self, cluster: Cluster, folder: Path, berths: int, image: str) -> None:
        self.size = Size(berths)
        self._cluster = cluster
        self._project = Project.copy_to(folder / f"many-{berths}", f"many-{berths}")
        self._content = many_models(cluster, berths, image)
        add_models(self._project, berths)
        write_stack_file(self._project, self._content)

    def measure(self, up_minutes: float) -> Size:
        """Every step, up to the first that is not done; then everything is removed."""
        try:
            self._do("first preview", "preview")
            self._do("up", "up", "--yes", "--json", minutes=up_minutes)
            self._do("unchanged preview", "preview", "--expect-no-changes")
            change_weights(self._content)
            write_stack_file(self._project, self._content)
            self._do("preview of new weights", "preview")
            self._do("new weights", "up", "--yes", "--json")
        except _StepError as error:
            self.size.note = f"{error}; {self._how_far()}"
            _say(self.size.note)
        self.size.resources = len(self._state())
        return self.size

    def remove(self) -> None:
        """Everything that the stack has made."""
        with contextlib.suppress(_StepError):
            self._do("destroy", "destroy", "--yes")

    def _do(self, step: str, *arguments: str, minutes: float = _MINUTES) -> None:
        done = _berth(self._project, *arguments, minutes=minutes)
        for role, peak in done.peaks.items():
            self.size.peaks[role] = max(self.size.peaks.get(role, 0), peak)
        if done.code != 0:
            raise _StepError(f"{step}: {_ending(done, minutes)}")
        self.size.seconds[step] = done.seconds
        _say(f"{self.size.berths} berths: {step} {done.seconds:.1f} s")

    def _how_far(self) -> str:
        found = self._cluster.get("deployments", "-n", f"many-{self.size.berths}")["items"]
        ready = sum(bool(item["status"].get("readyReplicas")) for item in found)
        return f"{len(self._state())} resources in the state, {ready} Deployments ready"

    def _state(self) -> list[Any]:
        """The resources that the engine remembers."""
        whole = json.loads(self._project.pulumi("stack", "export").stdout)
        found: list[Any] = (whole["deployment"] or {}).get("resources") or []
        return found


def _berth(project: Project, *arguments: str, minutes: float = _MINUTES) -> Watched:
    return watch(
        [sys.executable, "-m", "infra.cli", *arguments, "-s", project.stack],
        folder=project.root,
        environment=project.environment,
        log=project.root / f"{arguments[0]}.log",
        limit_seconds=minutes * 60,
    )


def _ending(done: Watched, minutes: float) -> str:
    if done.code is None:
        return f"not done in {minutes:g} minutes"
    return f"exit {done.code}: {done.log.read_text()[-2000:]}"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _pinned_image(cluster: Cluster, folder: Path) -> str:
    """The digest of a serving image that one berth has just answered from."""
    project = Project.copy_to(folder / "one", "one")
    write_stack_file(project, one_model(cluster))
    for arguments in (("up", "--yes"), ("invoke", "digits")):
        done = _berth(project, *arguments)
        if done.code != 0:
            raise RuntimeError(f"one berth: {_ending(done, _MINUTES)}")
    image = str(project.json("status")["models"]["digits"]["versions"]["1"]["image"])
    project.berth("destroy", "--yes")
    return image.partition("@")[2]


def _empty_preview(folder: Path) -> float:
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
            limit_seconds=_MINUTES * 60,
        )
        for _ in range(_EMPTY_ROUNDS)
    ]
    if any(done.code != 0 for done in found):
        raise RuntimeError(f"the empty program: {_ending(found[-1], _MINUTES)}")
    return statistics.median(done.seconds for done in found)


@contextlib.contextmanager
def _cluster() -> Iterator[Cluster]:
    """A cluster with the fake nodes, for the time of the block."""
    found = start(_STATE, "--kwok", name=_NAME, net=_NET)
    try:
        yield found
    finally:
        found.down()


def run(sizes: list[int], up_minutes: float) -> dict[str, Any]:
    """Measure everything; the result is plain data."""
    with tempfile.TemporaryDirectory() as name, _cluster() as cluster:
        folder = Path(name)
        _say("one berth, for its image")
        image = _pinned_image(cluster, folder)
        empty = _empty_preview(folder)
        _say(f"empty program: preview {empty:.1f} s")
        add_nodes(cluster)
        found = []
        for berths in sizes:
            bench = _Bench(cluster, folder, berths, image)
            try:
                found.append(asdict(bench.measure(up_minutes)))
            finally:
                bench.remove()
            found[-1] = asdict(bench.size)
        return {"machine": _machine(), "nodes": NODES, "empty_preview": empty, "sizes": found}


def _machine() -> str:
    version = subprocess.run(["pulumi", "version"], capture_output=True, text=True, check=True)
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Pulumi {version.stdout.strip()}"


def table(found: dict[str, Any]) -> str:
    """The figures of `run` as Markdown: how much, and how much more than with the fewest berths."""
    sizes = found["sizes"]
    rows = [
        ["", *(f"{size['berths']:,} berths" for size in sizes)],
        ["---", *("---:" for _ in sizes)],
        ["resources", *(f"{size['resources']:,}" for size in sizes)],
    ]
    for step in (*_STEPS, "destroy"):
        rows.append([f"{step}, s", *_cells([size["seconds"].get(step) for size in sizes])])
    for step in _PREVIEWS:
        times = [size["seconds"].get(step) for size in sizes]
        rows.append([f"{step} / empty program", *_times(times, found["empty_preview"])])
    for role in _ROLES:
        peaks = [size["peaks"].get(role) for size in sizes]
        rows.append([f"{role}, MiB", *_cells([peak and peak / 2**20 for peak in peaks])])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", f"Empty program: preview {found['empty_preview']:.1f} s. {found['machine']}."]
    lines += [f"{size['berths']:,} berths: {size['note']}" for size in sizes if size["note"]]
    return "\n".join(lines)


def _cells(values: list[float | None]) -> list[str]:
    """Each value, and how many times the first it is."""
    first = values[0]
    return [
        "-"
        if value is None
        else f"{value:,.1f}" + (f" (x{value / first:.1f})" if number and first else "")
        for number, value in enumerate(values)
    ]


def _times(values: list[float | None], unit: float) -> list[str]:
    return ["-" if value is None else f"x{value / unit:.1f}" for value in values]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, default=list(_SIZES), metavar="SIZE",
                        help="berths, a multiple of 10")  # fmt: skip
    parser.add_argument("--up-minutes", type=float, default=25.0, help="what an `up` gets")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    if reason := why_not():
        parser.exit(1, f"{reason}\n")
    # So that an end from outside, too, stops the cluster.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    found = run(options.sizes, options.up_minutes)
    print(json.dumps(found, indent=2) if options.json else table(found))


if __name__ == "__main__":
    main()
