"""`berth test`: run this repository's tests in parallel, with the engine on their PATH."""

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from berth.engine import ensure_engine
from berth.errors import OperationError

# Many tests wait for processes, pods or an emulated cloud, so one more runs than there are CPUs.
# With two more, probes fail on a machine with 2 CPUs: docs/measurements/tests.md.
_MORE_THAN_CPUS = 1
# A quick run has no pods, and its tests wait for about a third of the time.
_MORE_IF_QUICK = 2
_MOST_PROCESSES = 8
# tests/conftest.py groups the tests.
_DISTRIBUTE = ("--dist", "loadscope")
# Start the groups in the order of collection, in which those that take longest come first. In a
# quick run, the groups with most tests take longest.
_IN_ORDER = "--no-loadscope-reorder"


def run_tests(root: Path, arguments: Sequence[str]) -> int:
    """Run pytest in `root` and return its exit code.

    The tests receive the engine on their PATH, and no state or passphrase of this project.

    Args:
        arguments: Arguments for pytest. Without a path, pytest runs in several processes.

    Raises:
        OperationError: If pytest is not installed.
        EngineError: If no engine is available.
    """
    if importlib.util.find_spec("pytest") is None:
        raise OperationError("pytest is not installed. Run './berth test' in a checkout of Berth.")
    engine = ensure_engine(lambda message: click.echo(message, err=True))
    # The tests start hundreds of Python processes, which would compile every module again.
    environment = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *build_arguments(root, arguments, os.cpu_count() or 1)],
        cwd=root,
        env={**environment, "PATH": engine.search_path()},
    )
    with process:
        while process.poll() is None:
            # An interrupt also reaches pytest, which then stops what its tests started.
            with contextlib.suppress(KeyboardInterrupt):
                process.wait()
    return process.returncode


def build_arguments(root: Path, arguments: Sequence[str], cpus: int) -> list[str]:
    """Return pytest's arguments: in parallel, unless the caller names tests or processes."""
    names_tests = any(
        not argument.startswith("-") and ("/" in argument or (root / argument).exists())
        for argument in arguments
    )
    if names_tests or any(argument.startswith("-n") for argument in arguments):
        return list(arguments)
    if "--quick" in arguments:
        processes = min(_MOST_PROCESSES, cpus + _MORE_IF_QUICK)
        return ["-n", str(processes), *_DISTRIBUTE, *arguments]
    processes = min(_MOST_PROCESSES, cpus + _MORE_THAN_CPUS)
    return ["-n", str(processes), *_DISTRIBUTE, _IN_ORDER, *arguments]
