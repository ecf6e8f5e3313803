"""Measure decisions about limits with 1, 2 and 4 gateways that share them in Valkey.

    python -m benchmarks.limits

Each gateway receives authorization requests of one client with a rate limit and a quota, which all
gateways count together: one call of Valkey per request. Loopback only; about 40 seconds.

Gateways, Valkey and the load share the CPUs of the machine. The CPU time of each tells what it does
on a CPU of its own: the columns `per gateway CPU` and `per Valkey CPU`.
"""

import asyncio
import contextlib
import hashlib
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop

from benchmarks.server import free_ports, server
from berth_gateway.config import Client, GatewayConfig, Key, Model, Quota, encode_config
from tests.gateway.valkey_server import ValkeyServer

_ROUNDS = 3
_SECONDS = 3.0
_CONNECTIONS = 16
_GATEWAYS = (1, 2, 4)
_KEY = "benchmark"
_REQUEST = (
    "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-forwarded-method: POST\r\n"
    f"x-forwarded-uri: /v2/models/m/infer\r\nx-api-key: {_KEY}\r\n\r\n"
).encode()


@dataclass(frozen=True)
class Round:
    """What all gateways did together.

    Attributes:
        rate: Authorized requests per second.
        gateway_seconds: CPU time of the gateways per request, in seconds.
        valkey_seconds: CPU time of Valkey per request, in seconds. 0 without Valkey.
    """

    rate: float
    gateway_seconds: float
    valkey_seconds: float


async def send_requests(port: int, until: float) -> int:
    """Authorize requests one after another on one connection, and return their number.

    Raises:
        RuntimeError: If a response is not 200.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count = 0
    while time.monotonic() < until:
        writer.write(_REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"The response is not 200: {head!r}")
        count += 1
    writer.close()
    return count


async def measure(
    ports: list[int], gateways: list[psutil.Process], valkey: psutil.Process | None
) -> Round:
    """Run one round."""
    before = [_cpu_seconds(each) for each in gateways], _cpu_seconds(valkey)
    until = time.monotonic() + _SECONDS
    counts = await asyncio.gather(
        *(send_requests(port, until) for port in ports for _ in range(_CONNECTIONS))
    )
    total = sum(counts)
    used = sum(_cpu_seconds(each) for each in gateways) - sum(before[0])
    return Round(total / _SECONDS, used / total, (_cpu_seconds(valkey) - before[1]) / total)


def _cpu_seconds(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


def _build_config() -> GatewayConfig:
    client = Client(
        name="benchmark",
        keys=[Key(name="default", sha256=hashlib.sha256(_KEY.encode()).hexdigest())],
        rate_per_second=1e6,
        burst=10**6,
        quota=Quota(requests=10**9, period="day"),
    )
    model = Model(versions={"1": "http://127.0.0.1:1"}, exposed=["1"], traffic={"1": 100})
    return GatewayConfig(
        max_body_bytes=1 << 20, timeout_seconds=30, clients=[client], models={"m": model}
    )


def measure_gateways(count: int, valkey: ValkeyServer | None) -> Round:
    """Start gateways, and return the medians of several rounds."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (directory / "gateway.json").write_bytes(encode_config(_build_config()))
        settings = {"GATEWAY_CONFIG": str(directory / "gateway.json")}
        if valkey is not None:
            (directory / "url").write_text(valkey.url)
            settings["GATEWAY_VALKEY_URL_FILE"] = str(directory / "url")
        ports = free_ports(3 * count)
        gateways = []
        for number in range(count):
            state = directory / str(number)
            state.mkdir()
            own = {
                "GATEWAY_PORT": str(ports[number]),
                "GATEWAY_AUTHORIZE_PORT": str(ports[count + number]),
                "GATEWAY_ADMIN_PORT": str(ports[2 * count + number]),
                "GATEWAY_STATE_DIR": str(state),
            }
            gateways.append(
                stack.enter_context(server(["berth_gateway"], settings | own, ports[number]))
            )
        process = psutil.Process(valkey.pid) if valkey is not None else None
        authorize = ports[count : 2 * count]
        rounds = [uvloop.run(measure(authorize, gateways, process)) for _ in range(_ROUNDS + 1)][1:]
        return Round(
            *(
                statistics.median(getattr(each, name) for each in rounds)
                for name in ("rate", "gateway_seconds", "valkey_seconds")
            )
        )


def main() -> None:
    """Measure, and print the results as a table."""
    print("| gateways | limits in | requests/s | per gateway CPU | per Valkey CPU |")
    print("|--:|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as directory:
        valkey = ValkeyServer(Path(directory), fsync="everysec")
        valkey.start()
        try:
            _print_row(1, "memory", measure_gateways(1, None))
            for count in _GATEWAYS:
                _print_row(count, "Valkey", measure_gateways(count, valkey))
        finally:
            valkey.kill()
    print(f"\n{os.cpu_count()} CPUs, {_CONNECTIONS} connections per gateway", file=sys.stderr)


def _print_row(count: int, place: str, result: Round) -> None:
    valkey = f"{1 / result.valkey_seconds:,.0f}" if result.valkey_seconds else ""
    print(
        f"| {count} | {place} | {result.rate:,.0f} | {1 / result.gateway_seconds:,.0f} | {valkey} |"
    )


if __name__ == "__main__":
    main()
