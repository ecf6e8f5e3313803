"""The life of a berth: settings, sockets, one worker or several, and how it ends."""

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
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

from berth_protocol.environment import SettingError
from berth_protocol.http_server import bind
from berth_protocol.json_logs import configure_logging
from berth_serving.model import ModelError
from berth_serving.settings import Settings

EXIT_BAD_SETTING = 2
EXIT_BAD_MODEL = 3
EXIT_PORT_IN_USE = 4

# A worker that ends sooner than this is started again no more often than this.
_SHORT_LIFE_SECONDS = 1.0
_LOG = logging.getLogger("berth")
_SPAWN = multiprocessing.get_context("spawn")


def run(environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    0 after a drain; 2 for a setting, 3 for a model, 4 for a port that cannot be used, each with
    one line that says why, and without ever having listened.
    """
    try:
        settings = Settings.read(environment)
    except SettingError as error:
        print(f"berth: {error}", file=sys.stderr)
        return EXIT_BAD_SETTING
    configure_logging(_LOG, settings.log_level, sys.stdout)
    try:
        listener = _bind(settings)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            _LOG.error("cannot listen on %s:%d: %s", settings.host, settings.port, error)
            return EXIT_BAD_SETTING
        _LOG.error("port %d of %s is in use by another program", settings.port, settings.host)
        return EXIT_PORT_IN_USE
    with listener:
        if settings.workers == 1:
            return _work(settings, listener, None)
        return _Workers(settings).run()


def _bind(settings: Settings) -> socket.socket:
    if settings.workers > 1:
        # Alone first: sharing would succeed beside another program of this user.
        bind(settings.host, settings.port).close()
    return bind(settings.host, settings.port, reuse_port=settings.workers > 1)


def _work(settings: Settings, listener: socket.socket, metrics_folder: str | None) -> int:
    # Loading onnxruntime takes longer than everything above, which can fail without it.
    from berth_serving.worker import serve

    try:
        serve(settings, listener, metrics_folder)
    except ModelError as error:
        _LOG.error("%s", error)
        return EXIT_BAD_MODEL
    return 0


def _work_in_child(settings: Settings) -> None:
    # Ctrl-C in a terminal reaches every process; the parent decides for its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging(_LOG, settings.log_level, sys.stdout)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with bind(settings.host, settings.port, reuse_port=True) as listener:
        sys.exit(_work(settings, listener, os.environ["PROMETHEUS_MULTIPROC_DIR"]))


def _end_with_parent() -> None:
    """Nobody else ends a worker whose parent was killed; it would keep the port."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


class _Workers:
    """Several workers, each with a listening socket of its own; one that dies is replaced."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._started: dict[SpawnProcess, float] = {}
        self._ending = False

    def run(self) -> int:
        """Until SIGTERM or SIGINT; then the workers drain. A model none can load ends it too."""
        metrics_folder = tempfile.mkdtemp(prefix="berth-metrics-")
        # prometheus_client reads it when it is imported, in the workers.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_folder
        wake, woken = socket.socketpair()
        woken.setblocking(False)
        signal.set_wakeup_fd(woken.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        try:
            for _ in range(self._settings.workers):
                self._start()
            return self._watch(wake, metrics_folder)
        finally:
            signal.set_wakeup_fd(-1)
            wake.close()
            woken.close()
            shutil.rmtree(metrics_folder, ignore_errors=True)

    def _watch(self, wake: socket.socket, metrics_folder: str) -> int:
        from prometheus_client.multiprocess import mark_process_dead

        status = 0
        while self._started:
            ready = wait([wake, *(worker.sentinel for worker in self._started)])
            if wake in ready:
                wake.recv(64)
            for worker in [w for w in self._started if w.sentinel in ready]:
                lived = time.monotonic() - self._started.pop(worker)
                worker.join()
                # What it counted stays; what it was doing is over.
                mark_process_dead(worker.pid, metrics_folder)  # type: ignore[no-untyped-call]
                if self._ending:
                    continue
                if worker.exitcode in (EXIT_BAD_MODEL, EXIT_PORT_IN_USE):
                    status = worker.exitcode
                    self._end()
                    continue
                _LOG.error("a worker ended with %s; starting another", worker.exitcode)
                time.sleep(max(0.0, _SHORT_LIFE_SECONDS - lived))
                if not self._ending:
                    self._start()
        return status

    def _start(self) -> None:
        worker = _SPAWN.Process(target=_work_in_child, args=(self._settings,), name="berth-worker")
        worker.start()
        self._started[worker] = time.monotonic()
        if self._ending:
            worker.terminate()  # the signal came before it was among the started

    def _end(self, *_: object) -> None:
        self._ending = True
        for worker in self._started:
            worker.terminate()
