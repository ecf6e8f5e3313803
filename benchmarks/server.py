"""The servers that are measured: processes of this machine, for the time of a block."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

_PROJECT = Path(__file__).resolve().parents[1]
_READY_SECONDS = 30


@contextlib.contextmanager
def server(
    arguments: list[str], environment: dict[str, str], port: int
) -> Iterator[psutil.Process]:
    """`python -m ARGUMENTS`, which listens on `port` within the block.

    Raises:
        RuntimeError: it ended, or did not listen in time.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=_PROJECT,
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
                raise RuntimeError(f"{arguments[0]} does not listen on port {port}")
            time.sleep(0.02)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that are free, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]
