"""The process of a berth: it binds the port and runs one worker, or supervises several."""

import errno
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

from berth_protocol.environment import SettingError
from berth_protocol.http_server import bind
from berth_protocol.json_logs import configure_logging
from berth_serving.settings import Settings

EXIT_BAD_SETTING = 2
EXIT_BAD_MODEL = 3
EXIT_PORT_IN_USE = 4
EXIT_GPU_FAILED = 5

# A worker that exits sooner is replaced no more often than this.
_MIN_LIFETIME_SECONDS = 1.0
_LOG = logging.getLogger("berth")
_SPAWN = multiprocessing.get_context("spawn")


def run(environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status.

    The status is 0 after a graceful shutdown, 2 for an invalid setting, 3 for a model that cannot
    be served, 4 for a port in use and 5 for a GPU that failed. For 2 to 4, the process logs one
    line and never listens.
    """
    try:
        settings = Settings.read(environment)
    except SettingError as error:
        print(f"berth: {error}", file=sys.stderr)
        return EXIT_BAD_SETTING
    configure_logging(_LOG, settings.log_level, sys.stdout)
    listeners: list[socket.socket] = []
    with ExitStack() as stack:
        for variable, port in _list_ports(settings).items():
            try:
                listeners.append(stack.enter_context(_bind(settings, port)))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    _LOG.error("Cannot listen on %s:%d: %s", settings.host, port, error)
                    return EXIT_BAD_SETTING
                _LOG.error(
                    "Port %d on %s is in use by another program. Stop it, or change %s.",
                    port,
                    settings.host,
                    variable,
                )
                return EXIT_PORT_IN_USE
        if settings.workers == 1:
            return _run_worker(settings, listeners, None)
        return _Supervisor(settings).run()


def _list_ports(settings: Settings) -> dict[str, int]:
    """Return the ports by the variable that sets them."""
    ports = {"BERTH_PORT": settings.port}
    return (
        ports
        if settings.metrics_port is None
        else ports | {"BERTH_METRICS_PORT": settings.metrics_port}
    )


def _bind(settings: Settings, port: int) -> socket.socket:
    if settings.workers > 1:
        # A shared port would also be shared with another program of this user, so check first that
        # the port is free.
        bind(settings.host, port).close()
    return bind(settings.host, port, reuse_port=settings.workers > 1)


def _run_worker(settings: Settings, listeners: list[socket.socket], metrics_dir: str | None) -> int:
    # Import late: loading ONNX Runtime takes longer than the checks above, which may fail first.
    from berth_serving.model import ModelError
    from berth_serving.worker import serve

    try:
        serve(settings, listeners, metrics_dir)
    except ModelError as error:
        _LOG.error("%s", error)
        return EXIT_BAD_MODEL
    return 0


def _run_worker_process(settings: Settings) -> None:
    # Ctrl-C in a terminal reaches every process. The supervisor stops its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging(_LOG, settings.log_level, sys.stdout)
    threading.Thread(target=_stop_with_supervisor, daemon=True).start()
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(bind(settings.host, port, reuse_port=True))
            for port in _list_ports(settings).values()
        ]
        sys.exit(_run_worker(settings, listeners, os.environ["PROMETHEUS_MULTIPROC_DIR"]))


def _stop_with_supervisor() -> None:
    """Stop this worker if its supervisor is killed. Otherwise it would keep the port."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


class _Supervisor:
    """Several workers, each with its own listening socket. A worker that exits is replaced."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers: dict[SpawnProcess, float] = {}
        self._is_stopping = False

    def run(self) -> int:
        """Supervise until SIGTERM, SIGINT or a model that cannot be served."""
        metrics_dir = tempfile.mkdtemp(prefix="berth-metrics-")
        # prometheus_client reads the variable at import time, in the workers.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_dir
        wake, wake_writer = socket.socketpair()
        wake_writer.setblocking(False)
        signal.set_wakeup_fd(wake_writer.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            for _ in range(self._settings.workers):
                self._start_worker()
            return self._watch(wake, metrics_dir)
        finally:
            signal.set_wakeup_fd(-1)
            wake.close()
            wake_writer.close()
            shutil.rmtree(metrics_dir, ignore_errors=True)

    def _watch(self, wake: socket.socket, metrics_dir: str) -> int:
        from prometheus_client.multiprocess import mark_process_dead

        status = 0
        while self._workers:
            ready = wait([wake, *(worker.sentinel for worker in self._workers)])
            if wake in ready:
                wake.recv(64)
            for worker in [w for w in self._workers if w.sentinel in ready]:
                lifetime = time.monotonic() - self._workers.pop(worker)
                worker.join()
                # Keep the dead worker's counters; remove its gauges.
                mark_process_dead(worker.pid, metrics_dir)  # type: ignore[no-untyped-call]
                if self._is_stopping:
                    continue
                if worker.exitcode in (EXIT_BAD_MODEL, EXIT_PORT_IN_USE):
                    status = worker.exitcode
                    self._stop()
                    continue
                _LOG.error("Worker exited with status %s; starting a replacement", worker.exitcode)
                time.sleep(max(0.0, _MIN_LIFETIME_SECONDS - lifetime))
                if not self._is_stopping:
                    self._start_worker()
        return status

    def _start_worker(self) -> None:
        worker = _SPAWN.Process(
            target=_run_worker_process, args=(self._settings,), name="berth-worker"
        )
        worker.start()
        self._workers[worker] = time.monotonic()
        if self._is_stopping:
            worker.terminate()  # The signal arrived before the worker was in the dictionary.

    def _stop(self, *_: object) -> None:
        self._is_stopping = True
        for worker in self._workers:
            worker.terminate()
