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
    many_models,
    one_model,
    write_stack_file,
)
from benchmarks.runs import MINUTES, berth, cells, empty_preview, ending, machine, say, times
from tests.cluster.cluster import Cluster, start, why_not
from tests.engine.project import Project

_NAME, _NET = "berth-bench", "10.128"
_STATE = Path(tempfile.gettempdir()) / "berth-bench"  # short: a socket's path has 107 characters
_SIZES = (10, 100)
_STEPS = (
    "first preview", "up", "unchanged preview", "preview of new weights", "new weights", "destroy",
)  # fmt: skip
_PREVIEWS = ("first preview", "unchanged preview", "preview of new weights")
_WORK_OF = ("unchanged preview", "up")
_ROLES = ("engine", "program", "language host", "kubernetes provider")


@dataclass
class Size:
    """What was measured with this many berths.

    Attributes:
        resources: of the stack, as its state counts them.
        state: bytes of the file that it is in.
        seconds: of each step that came to its end.
        peaks: role of a process -> bytes that it held at most, over all steps.
        work: step -> role -> seconds of processor time.
        note: why there is no more, where a step did not come to its end.
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
    """What each step gets: minutes, and settings in the engine's environment."""

    minutes: float
    settings: dict[str, str]


class _StepError(RuntimeError):
    """A step that failed, or was not done in time."""


class _Bench:
    """One stack of `berths` berths, and what became of it."""

    def __init__(
        self, cluster: Cluster, folder: Path, berths: int, image: str, limits: Limits
    ) -> None:
        self.size = Size(berths)
        self._cluster = cluster
        self._minutes = limits.minutes
        self._project = Project.copy_to(folder / f"many-{berths}", f"many-{berths}")
        self._project.environment |= limits.settings
        add_models(self._project, berths)
        write_stack_file(self._project, many_models(cluster, berths, image))

    def measure(self) -> Size:
        """Every step, up to the first that is not done."""
        try:
            self._do("first preview", "preview")
            self._do("up", "up", "--yes", "--json")
            self._do("unchanged preview", "preview", "--expect-no-changes")
            self._project.edit(change_weights)
            self._do("preview of new weights", "preview")
            self._do("new weights", "up", "--yes", "--json")
            self._check_one_update()
            self._remember()
            self._do("destroy", "destroy", "--yes")
        except _StepError as error:
            self.size.note = f"{error}; {self._how_far()}"
            say(self.size.note)
        return self.size

    def _do(self, step: str, *arguments: str) -> None:
        done = berth(self._project, *arguments, minutes=self._minutes)
        for role, peak in done.peaks.items():
            self.size.peaks[role] = max(self.size.peaks.get(role, 0), peak)
        self.size.work[step] = dict(done.work)
        if done.code != 0:
            raise _StepError(f"{step}: {ending(done, self._minutes)}")
        self.size.seconds[step] = done.seconds
        say(f"{self.size.berths} berths: {step} {done.seconds:.1f} s")

    def _check_one_update(self) -> None:
        """New weights are a matter of the model's route alone."""
        arguments = ("--json", "--page", "1", "--page-size", "1")
        (latest,) = json.loads(self._project.pulumi("stack", "history", *arguments).stdout)
        changes = {key: n for key, n in latest["resourceChanges"].items() if key != "same"}
        if changes != {"update": 1}:
            raise _StepError(f"new weights: the update changed {changes}, not one route")

    def _how_far(self) -> str:
        found = self._cluster.get("deployments", "-n", f"many-{self.size.berths}")["items"]
        ready = sum(bool(item["status"].get("readyReplicas")) for item in found)
        return f"{self._resources()} resources in the state, {ready} Deployments ready"

    def _remember(self) -> None:
        """How much the engine remembers."""
        self.size.state = self._state_file().stat().st_size
        self.size.resources = self._resources()

    def _resources(self) -> int:
        found = json.loads(self._state_file().read_text())["checkpoint"]["latest"] or {}
        return len(found.get("resources") or [])

    def _state_file(self) -> Path:
        stacks = self._project.root / ".berth" / "state" / ".pulumi" / "stacks" / "berth"
        return stacks / f"{self._project.stack}.json"


def _pinned_image(cluster: Cluster, folder: Path) -> str:
    """The digest of a serving image that one berth has just answered from."""
    project = Project.copy_to(folder / "one", "one")
    write_stack_file(project, one_model(cluster))
    for arguments in (("up", "--yes"), ("invoke", "digits")):
        done = berth(project, *arguments)
        if done.code != 0:
            raise RuntimeError(f"one berth: {ending(done, MINUTES)}")
    image = str(project.json("status")["models"]["digits"]["versions"]["1"]["image"])
    berth(project, "destroy", "--yes")
    return image.partition("@")[2]


@contextlib.contextmanager
def _cluster() -> Iterator[Cluster]:
    """A cluster with the fake nodes, for the time of the block."""
    found = start(_STATE, "--kwok", name=_NAME, net=_NET)
    try:
        yield found
    finally:
        found.down()


def run(sizes: list[int], limits: Limits) -> dict[str, Any]:
    """Measure everything, up to the first size that is not done; the result is plain data."""
    with tempfile.TemporaryDirectory() as name, _cluster() as cluster:
        folder = Path(name)
        say("one berth, for its image")
        image = _pinned_image(cluster, folder)
        empty = empty_preview(folder)
        say(f"empty program: preview {empty:.1f} s")
        add_nodes(cluster)
        found = []
        for berths in sizes:
            size = _Bench(cluster, folder, berths, image, limits).measure()
            found.append(asdict(size))
            if size.note:
                break  # what it left goes with the cluster
        return {
            "machine": machine(),
            "settings": limits.settings,
            "nodes": NODES,
            "empty_preview": empty,
            "sizes": found,
        }


def table(found: dict[str, Any]) -> str:
    """The figures of `run` as Markdown: how much, and how much more than with the fewest berths."""
    sizes = found["sizes"]
    rows = [
        ["", *(f"{size['berths']:,} berths" for size in sizes)],
        ["---", *("---:" for _ in sizes)],
        ["resources", *(f"{size['resources']:,}" for size in sizes)],
        ["state file, MB", *(f"{size['state'] / 1e6:.1f}" for size in sizes)],
    ]
    for step in _STEPS:
        rows.append([f"{step}, s", *cells([size["seconds"].get(step) for size in sizes])])
    for step in _PREVIEWS:
        took = [size["seconds"].get(step) for size in sizes]
        rows.append([f"{step} / empty program", *times(took, found["empty_preview"])])
    for step in _WORK_OF:
        for role in _ROLES:
            used = [size["work"].get(step, {}).get(role) for size in sizes]
            rows.append([f"{step}: processor time of the {role}, s", *cells(used)])
    for role in _ROLES:
        peaks = [size["peaks"].get(role) for size in sizes]
        rows.append(
            [f"memory of the {role}, MiB", *cells([peak and peak / 2**20 for peak in peaks])]
        )
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", f"Empty program: preview {found['empty_preview']:.1f} s. {found['machine']}."]
    lines += [f"{size['berths']:,} berths: {size['note']}" for size in sizes if size["note"]]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, default=list(_SIZES), metavar="SIZE",
                        help="berths, a multiple of 10")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=25.0, help="what each step gets")
    parser.add_argument("--skip-checkpoints", action="store_true",
                        help="the engine saves its state at the end alone")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    if reason := why_not():
        parser.exit(1, f"{reason}\n")
    # So that an end from outside, too, stops the cluster.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    settings = {"PULUMI_SKIP_CHECKPOINTS": "true"} if options.skip_checkpoints else {}
    found = run(options.sizes, Limits(options.minutes, settings))
    print(json.dumps(found, indent=2) if options.json else table(found))


if __name__ == "__main__":
    main()
