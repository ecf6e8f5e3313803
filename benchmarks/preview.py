"""How a preview of prod on AWS grows with the number of berths, against an empty program.

    python -m benchmarks.preview [BERTHS ...] [--json]

`Pulumi.prod.yaml` as it stands, and with so many berths more, through the real engine and
provider against emulated AWS; nothing is up, so that all of it is to be made, and all of it is held
against the baseline (policy/). Needs root and the `cluster` tool, for the part of the stack that is
in the cluster. What can be compared across machines is the ratios.
"""

import argparse
import json
import re
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.many_models import VERSIONS, add_models, list_model_names
from benchmarks.runs import cells, empty_preview, ending, machine, say, times
from benchmarks.watched import Watched, watch
from tests.aws.emulation import Emulation, emulated
from tests.aws.emulation import why_not as why_no_aws
from tests.aws.stacks import host_zone, new_stack
from tests.cluster.cluster import Cluster, find_missing_requirement, start_cluster
from tests.engine.project import Project

_NAME, _NET = "berth-preview", "10.138"
_STATE = Path(tempfile.gettempdir()) / "berth-preview"  # short: a socket's path has 107 characters
_SIZES = (10, 100)
_CREATED = re.compile(r"\+ (\d+) to create")
_IMAGE = f"sha256:{'0' * 64}"  # none is made or pulled in a preview
_ROLES = ("engine", "program", "aws provider", "kubernetes provider", "policy pack", "rest")


@dataclass
class Size:
    """What was measured with this many berths beside prod's own.

    Attributes:
        resources: that the preview is to make.
        seconds: of the preview, and of the program alone, as `berth parity` runs it.
        work: role of a process -> seconds of processor time in the preview.
        peaks: role -> bytes that it held at most.
    """

    berths: int
    resources: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)


def _grown(berths: int) -> Any:
    """Models on top of prod's."""
    versions = [str(number + 1) for number in range(VERSIONS)]
    model = {
        "versions": {version: {"image": _IMAGE} for version in versions},
        "traffic": dict.fromkeys(versions, 100 // VERSIONS),
        "resources": {"cpu": "100m", "memory": "192Mi"},
    }

    def change(config: Any) -> None:
        config.pop("berth:parity")  # a second run of the program, for another question
        config["berth:models"] |= dict.fromkeys(list_model_names(berths), model)

    return change


def _measure(project: Project, berths: int, minutes: float) -> Size:
    add_models(project, berths)
    project.edit(_grown(berths))
    size = Size(berths)
    held = _watched(project, ["-m", "berth", "preview", "-s", "prod"], minutes)
    size.resources = int(_CREATED.findall(held.log.read_text())[-1])
    size.work, size.peaks = dict(held.work), dict(held.peaks)
    size.seconds["preview"] = held.seconds
    alone = _watched(
        project, ["-m", "berth.operations.offline_program", "Pulumi.prod.yaml"], minutes
    )
    size.seconds["program alone"] = alone.seconds
    say(f"{berths} berths more: {size.resources} resources, preview {held.seconds:.1f} s")
    return size


def _watched(project: Project, arguments: list[str], minutes: float) -> Watched:
    done = watch(
        [sys.executable, *arguments],
        folder=project.root,
        environment=project.environment,
        log=project.root / "preview.log",
        limit_seconds=minutes * 60,
    )
    if done.code != 0:
        raise RuntimeError(ending(done, minutes))
    return done


def _new_prod(folder: Path, aws: Emulation, cluster: Cluster) -> Project:
    folder.mkdir()
    return new_stack("prod", folder, aws, cluster)


def run(sizes: list[int], minutes: float) -> dict[str, Any]:
    """Measure everything; the result is plain data."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = empty_preview(folder)
        say(f"empty program: preview {empty:.1f} s")
        cluster = start_cluster(_STATE, name=_NAME, net=_NET)
        try:
            with emulated(folder / "aws.log") as aws:
                host_zone(aws)
                found = [
                    asdict(_measure(_new_prod(folder / str(n), aws, cluster), n, minutes))
                    for n in (0, *sizes)
                ]
        finally:
            cluster.stop()
    return {"machine": machine(), "empty_preview": empty, "sizes": found}


def table(found: dict[str, Any]) -> str:
    """The figures of `run` as Markdown."""
    sizes = found["sizes"]
    rows = [
        ["", *(f"{size['berths']:,} berths more" for size in sizes)],
        ["---", *("---:" for _ in sizes)],
        ["resources", *(f"{size['resources']:,}" for size in sizes)],
    ]
    for step in ("preview", "program alone"):
        took = [size["seconds"][step] for size in sizes]
        rows.append([f"{step}, s", *cells(took)])
        rows.append([f"{step} / empty program", *times(took, found["empty_preview"])])
    per = [1000 * size["seconds"]["preview"] / size["resources"] for size in sizes]
    rows.append(["preview, ms per resource", *cells(per)])
    for role in _ROLES:
        used = [size["work"].get(role) for size in sizes]
        rows.append([f"processor time: {role}, s", *cells(used)])
        peaks = [size["peaks"].get(role) for size in sizes]
        rows.append([f"memory: {role}, MiB", *cells([peak and peak / 2**20 for peak in peaks])])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", f"Empty program: preview {found['empty_preview']:.1f} s. {found['machine']}."]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, default=list(_SIZES), metavar="BERTHS",
                        help="beside prod's own, a multiple of 10")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=25.0, help="what each step gets")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    if reason := find_missing_requirement() or why_no_aws():
        parser.exit(1, f"{reason}\n")
    # So that an end from outside, too, stops the cluster.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    found = run(options.sizes, options.minutes)
    print(json.dumps(found, indent=2) if options.json else table(found))


if __name__ == "__main__":
    main()
