"""Measure how long the commands take that users run most: `--help`, `status`, `key`, `invoke`.

    python -m benchmarks.command_line [--runs N] [--json]

It deploys the sample project of `berth init` on this machine and runs each command N times. On an
idle machine the limits are 0.25 s for `--help`, 0.7 s for `status` and `key`, and 0.6 s for
`invoke`. Compare machines by the ratios to `python -c pass` and `pulumi version`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.runs import describe_machine, say
from berth.operations.init import create_project
from tests.repository import PACKAGES

_LIMITS_SECONDS = {"--help": 0.25, "status": 0.7, "key": 0.7, "invoke digits": 0.6}
_BASELINES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "pulumi version": ["pulumi", "version"],
}
_WARMUP_RUNS = 2


def _berth(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "berth", *arguments]


def _time(command: list[str], root: Path, environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - started


def _measure(command: list[str], root: Path, environment: dict[str, str], runs: int) -> list[float]:
    for _ in range(_WARMUP_RUNS):
        _time(command, root, environment)
    return [_time(command, root, environment) for _ in range(runs)]


def run(runs: int) -> dict[str, Any]:
    """Deploy the sample project and return the times of each command in seconds."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PULUMI_")}
    environment["PYTHONPATH"] = PACKAGES
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "demo"
        create_project(root)
        _time(_berth("up", "--yes"), root, environment)
        try:
            commands = _BASELINES | {name: _berth(*name.split()) for name in _LIMITS_SECONDS}
            seconds = {}
            for name, command in commands.items():
                seconds[name] = _measure(command, root, environment, runs)
                say(f"{name}: {statistics.median(seconds[name]):.2f} s")
        finally:
            _time(_berth("destroy", "--yes"), root, environment)
    return {"machine": describe_machine(), "load": os.getloadavg()[0], "seconds": seconds}


def format_table(result: dict[str, Any]) -> str:
    """Return the times as a Markdown table."""
    medians = {name: statistics.median(times) for name, times in result["seconds"].items()}
    lines = [
        "| command | median | minimum | maximum | limit | x `pass` | x `pulumi version` |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, times in result["seconds"].items():
        label = name if name in _BASELINES else f"berth {name}"
        limit = f"{_LIMITS_SECONDS[name]:.2f} s" if name in _LIMITS_SECONDS else ""
        ratios = [medians[name] / medians[baseline] for baseline in _BASELINES]
        lines.append(
            f"| `{label}` | {medians[name]:.2f} s | {min(times):.2f} s | {max(times):.2f} s "
            f"| {limit} | {ratios[0]:.1f} | {ratios[1]:.1f} |"
        )
    runs = len(next(iter(result["seconds"].values())))
    lines += ["", f"{runs} runs, load {result['load']:.1f}. {result['machine']}."]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10, help="runs of each command")
    parser.add_argument("--json", action="store_true", help="print the times as JSON")
    options = parser.parse_args()
    result = run(options.runs)
    print(json.dumps(result, indent=2) if options.json else format_table(result))


if __name__ == "__main__":
    main()
