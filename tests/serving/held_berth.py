"""`python -m tests.serving.held_berth`: a berth whose runs wait until the test releases them.

Tests of the shutdown and of the queue need requests that are in flight for as long as the test
wants, on a machine of any speed.
"""

import os
import queue
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from berth_serving.model import Model
from berth_serving.tensors import Array
from tests.serving.berth import Berth, run_berth

HELD = 7
"""A run with this value of `n` is held. See `tests.serving.berth.slow_request`."""

_SOCKET = "BERTH_TEST_HELD_RUNS"
_WAIT_SECONDS = 60.0
_original_run = Model.run


class HeldRuns:
    """The runs that a berth holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._started: queue.Queue[socket.socket] = queue.Queue()
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._started.put(connection)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a berth whose runs are held here."""
        return {_SOCKET: str(self._path)}

    def wait_for_run(self) -> None:
        """Return when one more run has started."""
        self._held.append(self._started.get(timeout=_WAIT_SECONDS))

    def release(self) -> None:
        """Let all runs finish, including runs that start later."""
        if not self._thread.is_alive():
            return
        self._path.unlink()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        while not self._started.empty():
            self._held.append(self._started.get())
        for connection in self._held:
            connection.close()


@contextmanager
def held_runs(directory: Path) -> Iterator[HeldRuns]:
    """Hold runs within the block. A Unix socket's path must be short, so use a short directory."""
    runs = HeldRuns(directory / "held")
    try:
        yield runs
    finally:
        runs.release()


@contextmanager
def run_held_berth(model: Path, log: Path, held: HeldRuns, **settings: str) -> Iterator[Berth]:
    """Run a berth with the slow model in threads. Runs with `n` = HELD wait for `held`."""
    with run_berth(
        model,
        log,
        module="tests.serving.held_berth",
        environment=held.environment,
        loop_threshold_ms="0",
        **settings,
    ) as berth:
        yield berth


def _run_held(
    self: Model, feeds: Mapping[str, Array], outputs: Sequence[str], options: Any = None
) -> list[Array]:
    if int(feeds["n"][0]) == HELD:
        _wait_for_release(options)
    return _original_run(self, feeds, outputs, options)


def _wait_for_release(options: Any) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(os.environ[_SOCKET])
        except (FileNotFoundError, ConnectionRefusedError):
            return
        connection.settimeout(0.05)
        while True:
            try:
                connection.recv(1)
                return
            except ConnectionResetError:
                return
            except TimeoutError:
                # ONNX Runtime also checks this between two operators.
                if options is not None and options.terminate:
                    raise ort_errors.Fail("Exiting due to terminate flag being set") from None


if _SOCKET in os.environ:
    # Also in the processes of the workers, which import this module by its name.
    Model.run = _run_held  # type: ignore[method-assign]

if __name__ == "__main__":
    from berth_serving.server import run

    sys.exit(run(os.environ))
