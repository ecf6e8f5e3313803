"""Server processes that benchmarks measure."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import uvicorn

from tests.repository import REPOSITORY

_READY_SECONDS = 30


@contextlib.contextmanager
def server(
    arguments: list[str], environment: dict[str, str], port: int
) -> Iterator[psutil.Process]:
    """Run `python -m ARGUMENTS` within the block, from the moment when it listens on `port`.

    Raises:
        RuntimeError: If it exits or does not listen in time.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{arguments[0]} did not listen on port {port} in time.")
            time.sleep(0.02)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def run_app(app: Any, port: int) -> None:
    """Serve an ASGI app on a port of 127.0.0.1, with the libraries of Berth's programs."""
    uvicorn.run(
        app, port=port, loop="uvloop", http="httptools",
        ws="none", lifespan="off", access_log=False, log_level="warning",
    )  # fmt: skip


def free_ports(count: int) -> list[int]:
    """Return distinct free ports."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]
