"""Measure the cost of the gateway: requests through the gateway, and directly to the berth.

    python -m benchmarks.gateway

The berth computes nothing and uses the same HTTP server, so the whole difference is the cost of the
gateway. Loopback only; about 20 seconds. Rounds of both alternate, so that a busy moment of the
machine affects both.
"""

import asyncio
import contextlib
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.server import free_ports, run_app, server
from berth_gateway.config import Client, GatewayConfig, Key, Model, Quota, encode_config

_ROUNDS = 5
KEY = "benchmark"
_BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [1.5] * 64}]}
).encode()
_RESPONSE = json.dumps(
    {"outputs": [{"name": "p", "shape": [1, 10], "datatype": "FP32", "data": [0.1] * 10}]}
).encode()


@dataclass(frozen=True)
class Load:
    """A number of requests over open connections, each with one request in flight."""

    connections: int
    requests: int


@dataclass(frozen=True)
class Round:
    """Requests per second, and latencies in seconds."""

    rate: float
    median: float
    p99: float


_LOADS = (Load(1, 2000), Load(16, 5000), Load(64, 5000))


async def berth(
    _scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Read the request body, and send a constant response (an ASGI app)."""
    message: MutableMapping[str, Any] = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(_RESPONSE)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _RESPONSE})


async def measure(port: int, load: Load) -> Round:
    """Run one round on a port of 127.0.0.1.

    Raises:
        RuntimeError: If a response is not 200.
    """
    request_head = (
        "POST /v2/models/m/infer HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"x-api-key: {KEY}\r\ncontent-length: {len(_BODY)}\r\n\r\n"
    )
    request = request_head.encode() + _BODY
    seconds: list[float] = []
    left = load.requests

    async def send_requests() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while left > 0:
            left -= 1
            started = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"The response is not 200: {head!r}")
            await reader.readexactly(len(_RESPONSE))
            seconds.append(time.perf_counter() - started)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(send_requests() for _ in range(load.connections)))
    elapsed = time.perf_counter() - started
    return Round(len(seconds) / elapsed, *_median_and_p99(seconds))


def _median_and_p99(seconds: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49], cuts[98]


def build_config(berth_port: int) -> GatewayConfig:
    """Return a gateway configuration that limits nothing, with one model on a port."""
    url = f"http://127.0.0.1:{berth_port}"
    client = Client(
        name="benchmark",
        keys=[Key(name="default", sha256=hashlib.sha256(KEY.encode()).hexdigest())],
        rate_per_second=1e6,
        burst=10**6,
        quota=Quota(requests=10**9, period="day"),
    )
    return GatewayConfig(
        max_body_bytes=1 << 20,
        timeout_seconds=30,
        clients=[client],
        models={"m": Model(versions={"1": url}, exposed=["1"], traffic={"1": 100})},
    )


def main() -> None:
    """Measure, and print the results as a table."""
    direct_port, gateway_port, admin_port = free_ports(3)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (directory / "gateway.json").write_bytes(encode_config(build_config(direct_port)))
        stack.enter_context(
            server(["benchmarks.gateway", "berth", str(direct_port)], {}, direct_port)
        )
        settings = {
            "GATEWAY_PORT": str(gateway_port),
            "GATEWAY_ADMIN_PORT": str(admin_port),
            "GATEWAY_CONFIG": str(directory / "gateway.json"),
            "GATEWAY_STATE_DIR": str(directory),
        }
        stack.enter_context(server(["berth_gateway"], settings, gateway_port))
        print("| connections | | requests/s | median ms | p99 ms |")
        print("|---|---|---|---|---|")
        for load in _LOADS:
            rounds: dict[str, list[Round]] = {"direct": [], "gateway": []}
            for number in range(_ROUNDS + 1):
                for name, port in (("direct", direct_port), ("gateway", gateway_port)):
                    result = uvloop.run(measure(port, load))
                    # The first round warms caches.
                    if number:
                        rounds[name].append(result)
            _print(load, rounds)


def _print(load: Load, rounds: dict[str, list[Round]]) -> None:
    medians = {
        name: Round(
            *(
                statistics.median(values)
                for values in zip(*map(_values, round_results), strict=True)
            )
        )
        for name, round_results in rounds.items()
    }
    for name, result in medians.items():
        print(
            f"| {load.connections} | {name} | {result.rate:.0f} "
            f"| {result.median * 1e3:.2f} | {result.p99 * 1e3:.2f} |"
        )
    added = (medians["gateway"].median - medians["direct"].median) * 1e3
    ratio = medians["gateway"].rate / medians["direct"].rate
    print(f"| {load.connections} | ratio {ratio:.2f} | | +{added:.2f} | |")


def _values(result: Round) -> tuple[float, float, float]:
    return result.rate, result.median, result.p99


if __name__ == "__main__":
    if sys.argv[1:2] == ["berth"]:
        run_app(berth, int(sys.argv[2]))
    else:
        main()
