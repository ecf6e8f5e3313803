"""`berth test`: the project's tests, with the engine found."""

import contextlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import click

from berth.engine import ensure_engine
from berth.errors import OperationError

_FAST_FIRST = ("unit", "serving", "gateway", "engine", "aws", "cluster", "parity")


def run_tests(root: Path, arguments: list[str]) -> int:
    """Run pytest with `arguments`, or all tests, the fast ones first; its exit code.

    The tests get the engine on their PATH and nothing else of this project: its state and its
    passphrase are not theirs.

    Raises:
        OperationError: pytest is not installed.
        EngineError: there is no engine.
    """
    if importlib.util.find_spec("pytest") is None:
        raise OperationError(
            "pytest is missing here: use ./berth test, "
            "or `python -m pip install -r requirements-dev.txt`"
        )
    engine = ensure_engine(lambda message: click.echo(message, err=True))
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *(arguments or _folders(root))],
        cwd=root,
        env={**os.environ, "PATH": engine.search_path()},
    )
    with process:
        while process.poll() is None:
            # An interrupt reaches pytest too, which then stops what its tests started.
            with contextlib.suppress(KeyboardInterrupt):
                process.wait()
    return process.returncode


def _folders(root: Path) -> list[str]:
    tests = root / "tests"
    names = [entry.name for entry in tests.iterdir() if any(entry.rglob("test_*.py"))]
    order = {name: place for place, name in enumerate(_FAST_FIRST)}
    return [f"tests/{name}" for name in sorted(names, key=lambda name: (order.get(name, 99), name))]
