"""What the gateway costs: requests through it, and straight to the berth, in one run.

    python -m benchmarks.gateway

The berth is the cheapest server there is on the same stack: it answers without computing
anything, so that all of the difference is the gateway's. Loopback only; about 20 seconds.
Rounds of both take turns, so that a busy moment of the machine touches both.
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

import uvicorn
import uvloop

from benchmarks.server import free_ports, server

_ROUNDS = 5
_KEY = "benchmark"
_BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [1.5] * 64}]}
).encode()
_ANSWER = json.dumps(
    {"outputs": [{"name": "p", "shape": [1, 10], "datatype": "FP32", "data": [0.1] * 10}]}
).encode()


@dataclass(frozen=True)
class Load:
    """`requests` over `connections` kept open, each of which sends when it has its answer."""

    connections: int
    requests: int


@dataclass(frozen=True)
class Round:
    """Requests per second, and seconds from request to answer."""

    rate: float
    median: float
    p99: float


_LOADS = (Load(1, 2000), Load(16, 5000), Load(64, 5000))


async def berth(
    _scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """An ASGI app that reads the body and answers the same always."""
    message: MutableMapping[str, Any] = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(_ANSWER)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _ANSWER})


async def measure(port: int, load: Load) -> Round:
    """One round of `load` on 127.0.0.1:`port`.

    Raises:
        RuntimeError: an answer was not 200.
    """
    head = (
        "POST /v2/models/m/infer HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"x-api-key: {_KEY}\r\ncontent-length: {len(_BODY)}\r\n\r\n"
    )
    request = head.encode() + _BODY
    seconds: list[float] = []
    left = load.requests

    async def ask() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while left > 0:
            left -= 1
            started = time.perf_counter()
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"not 200: {answer!r}")
            await reader.readexactly(len(_ANSWER))
            seconds.append(time.perf_counter() - started)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(load.connections)))
    elapsed = time.perf_counter() - started
    return Round(len(seconds) / elapsed, *_median_and_p99(seconds))


def _median_and_p99(seconds: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49], cuts[98]


def _table(berth_port: int) -> dict[str, Any]:
    url = f"http://127.0.0.1:{berth_port}"
    client = {
        "name": "benchmark",
        "key_sha256": [hashlib.sha256(_KEY.encode()).hexdigest()],
        "rate_per_second": 1e6,
        "burst": 10**6,
        "quota": {"requests": 10**9, "period": "day"},
    }
    model = {"versions": {"1": url}, "exposed": ["1"], "traffic": {"1": 100}, "shadow": None}
    return {
        "max_body_bytes": 1 << 20,
        "timeout_seconds": 30,
        "clients": [client],
        "models": {"m": model},
    }


def main() -> None:
    """Measure and print a table."""
    straight, through, admin = free_ports(3)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "table.json").write_text(json.dumps(_table(straight)))
        stack.enter_context(server(["benchmarks.gateway", "berth", str(straight)], {}, straight))
        settings = {
            "GATEWAY_PORT": str(through),
            "GATEWAY_ADMIN_PORT": str(admin),
            "GATEWAY_TABLE": str(folder / "table.json"),
            "GATEWAY_STATE_DIR": str(folder),
        }
        stack.enter_context(server(["berth_gateway"], settings, through))
        print("| connections | | requests/s | median ms | p99 ms |")
        print("|---|---|---|---|---|")
        for load in _LOADS:
            rounds: dict[str, list[Round]] = {"straight": [], "gateway": []}
            for number in range(_ROUNDS + 1):
                for name, port in (("straight", straight), ("gateway", through)):
                    measured = uvloop.run(measure(port, load))
                    # The first one opens connections and warms caches.
                    if number:
                        rounds[name].append(measured)
            _print(load, rounds)


def _print(load: Load, rounds: dict[str, list[Round]]) -> None:
    medians = {
        name: Round(
            *(statistics.median(values) for values in zip(*map(_values, found), strict=True))
        )
        for name, found in rounds.items()
    }
    for name, found in medians.items():
        print(
            f"| {load.connections} | {name} | {found.rate:.0f} "
            f"| {found.median * 1e3:.2f} | {found.p99 * 1e3:.2f} |"
        )
    added = (medians["gateway"].median - medians["straight"].median) * 1e3
    ratio = medians["gateway"].rate / medians["straight"].rate
    print(f"| {load.connections} | ratio {ratio:.2f} | | +{added:.2f} | |")


def _values(found: Round) -> tuple[float, float, float]:
    return found.rate, found.median, found.p99


if __name__ == "__main__":
    if sys.argv[1:2] == ["berth"]:
        uvicorn.run(
            berth, port=int(sys.argv[2]), loop="uvloop", http="httptools",
            ws="none", lifespan="off", access_log=False, log_level="warning",
        )  # fmt: skip
    else:
        main()
