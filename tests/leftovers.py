"""What an interrupted run of tests leaves: processes, and the cluster, that no fixture ends.

pytest-xdist gives its processes 10 s to end, less than an update of a stack or the cluster takes. A
process belongs to the run if its environment says so. Berth gives its own processes another one,
with the directory of their stack; the supervisor of a stack has it only in its command line.
"""

import contextlib
import os
import signal
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import pytest

from pulumi_berth.local.stack_processes import RUN_DIR_VARIABLE
from tests.cluster.stacks import stop_cluster_of

RUN_VARIABLE = "BERTH_TEST_RUN"
_END_SECONDS = 15.0


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    """Mark all processes of the run, and let SIGTERM end it in the same way as Ctrl-C."""
    if not hasattr(config, "workerinput"):
        os.environ[RUN_VARIABLE] = str(uuid.uuid4())
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End what the run has left."""
    if hasattr(config, "workerinput"):
        return
    folder: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    stop_cluster_of(folder)
    end_processes(os.environ[RUN_VARIABLE], folder)


def end_processes(run: str, folder: Path) -> list[psutil.Process]:
    """End all processes of a run, except this one, and return them.

    Args:
        run: The run's identifier.
        folder: The run's temporary directory.
    """
    left = [*_find_processes(run, folder)]
    _signal(left, signal.SIGTERM)
    _signal(_find_processes(run, folder), signal.SIGKILL)
    return left


def _signal(processes: Iterable[psutil.Process], number: int) -> None:
    """Send a signal, and wait until all processes have ended."""
    signaled = []
    for process in processes:
        # It may have ended, or belong to another user.
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
            signaled.append(process)
    psutil.wait_procs(signaled, timeout=_END_SECONDS)


def _find_processes(run: str, folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            environment, command = process.environ(), process.cmdline()
        except psutil.Error:
            continue
        stack = environment.get(RUN_DIR_VARIABLE, "")
        if environment.get(RUN_VARIABLE) == run or any(
            folder in Path(text).parents for text in (stack, *command)
        ):
            yield process
