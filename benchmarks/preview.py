"""Measure how a preview of prod on AWS grows with the number of berths.

    python -m benchmarks.preview [BERTHS ...] [--json]

It previews `Pulumi.prod.yaml`, unchanged and with more berths, with the real engine and provider
against emulated AWS. Nothing is deployed, so the preview creates every resource and checks it
against the security baseline. It needs root and the `cluster` tool for the part of the stack that
is in the cluster. Compare machines by the ratios to an empty program.
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
from benchmarks.measured_command import CommandRun, run_command
from benchmarks.runs import (
    describe_failure,
    describe_machine,
    empty_preview,
    format_cells,
    format_ratios,
    say,
)
from tests.aws.emulation import Emulation, emulated, skip_reason
from tests.aws.stacks import create_host_zone, create_stack, serve_registry_to
from tests.aws.strict_registry import StrictRegistry
from tests.cluster.cluster import Cluster, find_missing_requirement, start_cluster
from tests.engine.project import Project

_NAME, _NET = "berth-preview", "10.138"
_STATE = (
    Path(tempfile.gettempdir()) / "berth-preview"
)  # A socket's path has at most 107 characters.
_SIZES = (10, 100)
_CREATED = re.compile(r"\+ (\d+) to create")
_IMAGE = f"sha256:{'0' * 64}"  # A preview builds and pulls no image.
_ROLES = ("engine", "program", "aws provider", "kubernetes provider", "policy pack", "rest")


@dataclass
class Size:
    """The measurement with this many berths in addition to prod's own.

    Attributes:
        resources: Number of resources that the preview creates.
        seconds: Duration of the preview, and of the program without an engine, as in
            `berth parity`.
        work: CPU time of the preview in seconds, by role of the process.
        peaks: Peak memory in bytes, by role of the process.
    """

    berths: int
    resources: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)


def _with_more_berths(berths: int) -> Any:
    """Return a change that adds models to prod's."""
    versions = [str(number + 1) for number in range(VERSIONS)]
    model = {
        "versions": {version: {"image": _IMAGE} for version in versions},
        "traffic": dict.fromkeys(versions, 100 // VERSIONS),
        "resources": {"cpu": "100m", "memory": "192Mi"},
    }

    def change(config: Any) -> None:
        config.pop("berth:parity")  # The comparison would run the program again.
        config["berth:registry"]["source_stack"] = None  # dev has built no images here.
        config["berth:models"] |= dict.fromkeys(list_model_names(berths), model)

    return change


def _measure(project: Project, berths: int, minutes: float) -> Size:
    add_models(project, berths)
    project.edit(_with_more_berths(berths))
    size = Size(berths)
    preview = _run(project, ["-m", "berth", "preview", "-s", "prod"], minutes)
    size.resources = int(_CREATED.findall(preview.log.read_text())[-1])
    size.work, size.peaks = dict(preview.work), dict(preview.peaks)
    size.seconds["preview"] = preview.seconds
    program = _run(project, ["-m", "berth.operations.offline_program", "Pulumi.prod.yaml"], minutes)
    size.seconds["program only"] = program.seconds
    say(f"{berths} more berths: {size.resources} resources, preview {preview.seconds:.1f} s")
    return size


def _run(project: Project, arguments: list[str], minutes: float) -> CommandRun:
    run = run_command(
        [sys.executable, *arguments],
        folder=project.root,
        environment=project.environment,
        log=project.root / "preview.log",
        limit_seconds=minutes * 60,
    )
    if run.code != 0:
        raise RuntimeError(describe_failure(run, minutes))
    return run


def _new_prod(folder: Path, aws: Emulation, cluster: Cluster, registry: StrictRegistry) -> Project:
    folder.mkdir()
    return create_stack("prod", folder, aws, cluster, registry)


def run(sizes: list[int], minutes: float) -> dict[str, Any]:
    """Measure everything and return plain data."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "registry").mkdir()
        empty = empty_preview(folder)
        say(f"empty program: preview {empty:.1f} s")
        cluster = start_cluster(_STATE, name=_NAME, net=_NET)
        try:
            with (
                emulated(folder / "aws.log") as aws,
                serve_registry_to(cluster, folder / "registry") as registry,
            ):
                create_host_zone(aws)
                measured = [
                    asdict(_measure(_new_prod(folder / str(n), aws, cluster, registry), n, minutes))
                    for n in (0, *sizes)
                ]
        finally:
            cluster.stop()
    return {"machine": describe_machine(), "empty_preview": empty, "sizes": measured}


def format_table(result: dict[str, Any]) -> str:
    """Return the result of `run` as a Markdown table."""
    sizes = result["sizes"]
    rows = [
        ["", *(f"{size['berths']:,} more berths" for size in sizes)],
        ["---", *("---:" for _ in sizes)],
        ["resources", *(f"{size['resources']:,}" for size in sizes)],
    ]
    for step in ("preview", "program only"):
        took = [size["seconds"][step] for size in sizes]
        rows.append([f"{step}, s", *format_cells(took)])
        rows.append([f"{step} / empty program", *format_ratios(took, result["empty_preview"])])
    per = [1000 * size["seconds"]["preview"] / size["resources"] for size in sizes]
    rows.append(["preview, ms per resource", *format_cells(per)])
    for role in _ROLES:
        used = [size["work"].get(role) for size in sizes]
        rows.append([f"CPU time: {role}, s", *format_cells(used)])
        peaks = [size["peaks"].get(role) for size in sizes]
        rows.append(
            [f"memory: {role}, MiB", *format_cells([peak and peak / 2**20 for peak in peaks])]
        )
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", f"Empty program: preview {result['empty_preview']:.1f} s. {result['machine']}."]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, default=list(_SIZES), metavar="BERTHS",
                        help="in addition to prod's own, a multiple of 10")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=25.0, help="time limit of each step")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args()
    if reason := find_missing_requirement() or skip_reason():
        parser.exit(1, f"{reason}\n")
    # Also stop the cluster if this process is terminated.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    result = run(options.sizes, options.minutes)
    print(json.dumps(result, indent=2) if options.json else format_table(result))


if __name__ == "__main__":
    main()
