"""Measure how much memory of a gateway slow clients occupy, with its limit and without one.

    python -m benchmarks.slow_clients

Each case is a new gateway with the limit that a container of 256 MiB has by default, or with one
that is never reached. Loopback only; about a minute. It opens up to 3,000 connections.
"""

import contextlib
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.gateway import KEY, build_config
from benchmarks.server import free_ports, run_app, server
from berth_gateway.config import encode_config
from berth_protocol.asgi import Receive, Scope, Send

_MIB = 1 << 20
_DEFAULT_LIMIT = 64 * _MIB
_NO_LIMIT = 1 << 40
# More than the buffers of the sockets hold.
_RESPONSE = b"x" * (12 * _MIB)
_SETTLE_SECONDS = 3
_START = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: 127.0.0.1\r\n"
_REQUEST = _START + f"x-api-key: {KEY}\r\ncontent-length: 2\r\n\r\n{{}}".encode()


@dataclass(frozen=True)
class _Case:
    """Clients that each send something, and then neither send nor read anything."""

    name: str
    clients: int
    sent: bytes


_HEADERS = (b"a:" + b"b" * 198 + b"\r\n") * 250

_CASES = (
    _Case("300 clients that take no response of 12 MiB", 300, _REQUEST),
    _Case("3,000 clients with 60 KB of a head", 3000, _START + b"x: " + b"a" * 60_000),
    _Case("3,000 clients with 250 headers of 200 bytes", 3000, _START + _HEADERS),
    _Case("3,000 clients with 10,000 headers of 5 bytes", 3000, _START + b"a:b\r\n" * 10_000),
)


async def berth(_scope: Scope, receive: Receive, send: Send) -> None:
    """Send a long response (an ASGI app)."""
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", str(len(_RESPONSE)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _RESPONSE})


@contextlib.contextmanager
def _gateway(berth_port: int, limit: int) -> Iterator[tuple[psutil.Process, int]]:
    port, admin_port = free_ports(2)
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "gateway.json")
        config.write_bytes(encode_config(build_config(berth_port)))
        settings = {
            "GATEWAY_PORT": str(port),
            "GATEWAY_ADMIN_PORT": str(admin_port),
            "GATEWAY_CONFIG": str(config),
            "GATEWAY_STATE_DIR": directory,
            "GATEWAY_BODY_MEMORY_BYTES": str(limit),
            "GATEWAY_LOG_LEVEL": "error",
        }
        with server(["berth_gateway"], settings, port) as process:
            yield process, port


def _measure(berth_port: int, case: _Case, limit: int) -> int:
    """Return the resident memory that the clients add, in bytes."""
    with _gateway(berth_port, limit) as (process, port), contextlib.ExitStack() as stack:
        before = process.memory_info().rss
        for _ in range(case.clients):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            with contextlib.suppress(ConnectionError):
                client.sendall(case.sent)
        return _wait_until_stable(process) - before


def _wait_until_stable(process: psutil.Process) -> int:
    """Return the resident memory once it no longer changes."""
    previous, current = 0, process.memory_info().rss
    while abs(current - previous) > _MIB:
        time.sleep(_SETTLE_SECONDS)
        previous, current = current, process.memory_info().rss
    return current


def main() -> None:
    """Measure, and print the results as a table."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 10_000), hard))
    (berth_port,) = free_ports(1)
    with server(["benchmarks.slow_clients", "berth", str(berth_port)], {}, berth_port):
        print("| clients | MiB without a limit | MiB with the default limit |")
        print("|---|--:|--:|")
        for case in _CASES:
            sizes = [_measure(berth_port, case, limit) for limit in (_NO_LIMIT, _DEFAULT_LIMIT)]
            print(f"| {case.name} | " + " | ".join(f"{size / _MIB:.0f}" for size in sizes) + " |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["berth"]:
        run_app(berth, int(sys.argv[2]))
    else:
        main()
