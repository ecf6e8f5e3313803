"""Measure how `berth preview` and `berth up` scale with the number of berths in a cluster.

    python -m benchmarks.cluster [SIZE ...] [--json]

The API server, scheduler and controllers are real. The 200 nodes are fake (kwok) and report each
pod as ready at once. The benchmark therefore measures Berth, the engine and the cluster's
bookkeeping, but not the start of models. It requires root and the `cluster` tool. A size of 1,000
takes up to an hour. Compare ratios across machines: to the smallest size, and to the preview of an
empty program by the same engine in the same run.
"""

import argparse
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.many_models import (
    NODES,
    add_models,
    add_nodes,
    change_weights,
    configure_many_models,
    configure_one_model,
    write_stack_file,
)
from benchmarks.runs import (
    MINUTES,
    berth,
    describe_failure,
    describe_machine,
    empty_preview,
    format_cells,
    format_ratios,
    say,
)
from tests.cluster.cluster import Cluster, find_missing_requirement, start_cluster
from tests.engine.project import Project

_NAME, _NET = "berth-bench", "10.128"
# A short path: the path of a socket is limited to 107 characters.
_STATE_DIR = Path(tempfile.gettempdir()) / "berth-bench"
_SIZES = (10, 100)
_STEPS = (
    "first preview", "up", "unchanged preview", "preview of new weights", "new weights", "destroy",
)  # fmt: skip
_PREVIEWS = ("first preview", "unchanged preview", "preview of new weights")
_STEPS_WITH_CPU = ("unchanged preview", "up")
_ROLES = ("engine", "program", "language host", "kubernetes provider")


@dataclass
class Measurement:
    """Measurement of one number of berths.

    Attributes:
        resources: Number of resources in the stack's state.
        state: Size of the state file, in bytes.
        seconds: Duration of each completed step.
        peaks: Peak memory of each kind of process over all steps, in bytes.
        work: CPU seconds of each kind of process, per step.
        note: Reason that a step did not complete, if so.
    """

    berths: int
    resources: int = 0
    state: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    work: dict[str, dict[str, float]] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Limits:
    """Limits of each step: minutes, and variables in the engine's environment."""

    minutes: float
    settings: dict[str, str]


class _StepError(RuntimeError):
    """A step that failed or exceeded its time limit."""


class _Bench:
    """A stack with a number of berths, and its measurement."""

    def __init__(
        self, cluster: Cluster, directory: Path, berths: int, image: str, limits: Limits
    ) -> None:
        self.measurement = Measurement(berths)
        self._cluster = cluster
        self._minutes = limits.minutes
        self._project = Project.copy_to(directory / f"many-{berths}", f"many-{berths}")
        self._project.environment |= limits.settings
        add_models(self._project, berths)
        write_stack_file(self._project, configure_many_models(cluster, berths, image))

    def measure(self) -> Measurement:
        """Run the steps in order, until one does not complete."""
        try:
            self._run_step("first preview", "preview")
            self._run_step("up", "up", "--yes", "--json")
            self._run_step("unchanged preview", "preview", "--expect-no-changes")
            self._project.edit(change_weights)
            self._run_step("preview of new weights", "preview")
            self._run_step("new weights", "up", "--yes", "--json")
            self._check_that_only_one_route_changed()
            self.measurement.state = self._get_state_file().stat().st_size
            self.measurement.resources = self._count_resources()
            self._run_step("destroy", "destroy", "--yes")
        except _StepError as error:
            self.measurement.note = f"{error}; {self._describe_progress()}"
            say(self.measurement.note)
        return self.measurement

    def _run_step(self, step: str, *arguments: str) -> None:
        result = berth(self._project, *arguments, minutes=self._minutes)
        peaks = self.measurement.peaks
        for role, peak in result.peaks.items():
            peaks[role] = max(peaks.get(role, 0), peak)
        self.measurement.work[step] = dict(result.work)
        if result.code != 0:
            raise _StepError(f"{step}: {describe_failure(result, self._minutes)}")
        self.measurement.seconds[step] = result.seconds
        say(f"{self.measurement.berths} berths: {step} {result.seconds:.1f} s")

    def _check_that_only_one_route_changed(self) -> None:
        arguments = ("--json", "--page", "1", "--page-size", "1")
        (latest,) = json.loads(self._project.pulumi("stack", "history", *arguments).stdout)
        changes = {key: n for key, n in latest["resourceChanges"].items() if key != "same"}
        if changes != {"update": 1}:
            raise _StepError(f"new weights: expected one changed route, got {changes}")

    def _describe_progress(self) -> str:
        namespace = f"many-{self.measurement.berths}"
        deployments = self._cluster.get("deployments", "-n", namespace)["items"]
        ready = sum(bool(item["status"].get("readyReplicas")) for item in deployments)
        return f"{self._count_resources()} resources in the state, {ready} Deployments ready"

    def _count_resources(self) -> int:
        latest = json.loads(self._get_state_file().read_text())["checkpoint"]["latest"] or {}
        return len(latest.get("resources") or [])

    def _get_state_file(self) -> Path:
        stacks = self._project.root / ".berth" / "state" / ".pulumi" / "stacks" / "berth"
        return stacks / f"{self._project.stack}.json"


def _build_serving_image(cluster: Cluster, directory: Path) -> str:
    """Deploy one berth, check that it responds, and return the digest of its image."""
    project = Project.copy_to(directory / "one", "one")
    write_stack_file(project, configure_one_model(cluster))
    for arguments in (("up", "--yes"), ("invoke", "digits")):
        result = berth(project, *arguments)
        if result.code != 0:
            raise RuntimeError(f"one berth: {describe_failure(result, MINUTES)}")
    image = str(project.json("status")["models"]["digits"]["versions"]["1"]["image"])
    berth(project, "destroy", "--yes")
    return image.partition("@")[2]


@contextlib.contextmanager
def _run_cluster() -> Iterator[Cluster]:
    """Run a cluster with fake nodes during the block."""
    cluster = start_cluster(_STATE_DIR, "--kwok", name=_NAME, net=_NET)
    try:
        yield cluster
    finally:
        cluster.stop()


def run(sizes: list[int], limits: Limits) -> dict[str, Any]:
    """Measure each size in order, until one does not complete. Return JSON data."""
    with tempfile.TemporaryDirectory() as name, _run_cluster() as cluster:
        directory = Path(name)
        say("Building the serving image with one berth")
        image = _build_serving_image(cluster, directory)
        empty = empty_preview(directory)
        say(f"Preview of an empty program: {empty:.1f} s")
        add_nodes(cluster)
        measurements = []
        for berths in sizes:
            measurement = _Bench(cluster, directory, berths, image, limits).measure()
            measurements.append(asdict(measurement))
            if measurement.note:
                break  # The remaining resources are deleted with the cluster.
        return {
            "machine": describe_machine(),
            "settings": limits.settings,
            "nodes": NODES,
            "empty_preview": empty,
            "sizes": measurements,
        }


def format_table(result: dict[str, Any]) -> str:
    """Format the result of `run` as a Markdown table with ratios to the smallest size."""
    sizes = result["sizes"]
    rows = [
        ["", *(f"{size['berths']:,} berths" for size in sizes)],
        ["---", *("---:" for _ in sizes)],
        ["resources", *(f"{size['resources']:,}" for size in sizes)],
        ["state file, MB", *(f"{size['state'] / 1e6:.1f}" for size in sizes)],
    ]
    for step in _STEPS:
        rows.append([f"{step}, s", *format_cells([size["seconds"].get(step) for size in sizes])])
    for step in _PREVIEWS:
        seconds = [size["seconds"].get(step) for size in sizes]
        rows.append([f"{step} / empty program", *format_ratios(seconds, result["empty_preview"])])
    for step in _STEPS_WITH_CPU:
        for role in _ROLES:
            work = [size["work"].get(step, {}).get(role) for size in sizes]
            rows.append([f"{step}: CPU time of the {role}, s", *format_cells(work)])
    for role in _ROLES:
        peaks = [size["peaks"].get(role) for size in sizes]
        rows.append(
            [f"memory of the {role}, MiB", *format_cells([peak and peak / 2**20 for peak in peaks])]
        )
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", f"Empty program: preview {result['empty_preview']:.1f} s. {result['machine']}."]
    lines += [f"{size['berths']:,} berths: {size['note']}" for size in sizes if size["note"]]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark and print the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, default=list(_SIZES), metavar="SIZE",
                        help="number of berths, a multiple of 10")  # fmt: skip
    parser.add_argument(
        "--minutes", type=float, default=25.0, help="time limit of each step (default: 25)"
    )
    parser.add_argument("--skip-checkpoints", action="store_true",
                        help="let the engine save its state only at the end")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if reason := find_missing_requirement():
        parser.exit(1, f"{reason}\n")
    # Stop the cluster also on SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    settings = {"PULUMI_SKIP_CHECKPOINTS": "true"} if options.skip_checkpoints else {}
    result = run(options.sizes, Limits(options.minutes, settings))
    print(json.dumps(result, indent=2) if options.json else format_table(result))


if __name__ == "__main__":
    main()
