"""A program's process that is forked from a process that has imported what the program imports.

The imports take most of the CPU time of a start. Both programs read their environment only in
`run`, which each process calls with its own.
"""

import contextlib
import multiprocessing
import os
import runpy
import subprocess
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.repository import REPOSITORY

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["berth_gateway.server", "berth_serving.server", "berth_serving.worker"]
)


class ForkedProcess:
    """A process with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        assert process.pid is not None
        self.pid = process.pid

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once the process has ended.

        Raises:
            subprocess.TimeoutExpired: If that takes more than `timeout` seconds.
        """
        self._process.join(timeout)
        if (status := self.poll()) is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process if it runs."""
        self._process.kill()


def fork(module: str, environment: Mapping[str, str], out: Path, err: Path) -> ForkedProcess:
    """Start `python -m MODULE` in this repository. It appends to the files `out` and `err`."""
    process = _CONTEXT.Process(
        target=_run,
        args=(module, str(REPOSITORY), dict(environment), str(out), str(err)),
        daemon=True,
    )
    process.start()
    return ForkedProcess(process)


def _run(module: str, directory: str, environment: dict[str, str], out: str, err: str) -> None:
    for path, descriptor in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
