"""Throughput and latency of a berth, a bare prototype without checks, and a naive FastAPI app.

    python -m benchmarks.serving

Each server is one process; one client process sends requests over loopback for about a minute.
The servers take turns, so that a busy moment of the machine affects all of them. Compare machines
by the ratio and by the requests per second of the server's CPU time, which the client cannot limit.
"""

import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import uvloop
import yaml
from onnx import TensorProto, helper

from benchmarks.server import free_ports, server
from berth_protocol.headers import INFERENCE_HEADER_LENGTH
from berth_protocol.model_card import file_sha256
from berth_protocol.paths import infer_path

_ROUNDS = 5
_ROUND_SECONDS = 0.7
_TINY = 30
_MEDIUM = 1200


@dataclass(frozen=True)
class Round:
    """One measurement.

    Attributes:
        rate: Requests per second.
        per_core: Requests per second of the server's CPU time.
        p99: 99th percentile of the latency, in milliseconds.
    """

    rate: float
    per_core: float
    p99: float


class _Client(asyncio.Protocol):
    """A connection that sends the next request as soon as it receives a response."""

    def __init__(self, request: bytes, stop: float, seconds: list[float]) -> None:
        self._request = request
        self._stop = stop
        self._seconds = seconds
        self._left = 0
        self._head = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            "asyncio.Transport", transport
        )  # uvloop's transport is not a subclass.
        self._send()

    def _send(self) -> None:
        self._started = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._left:
            self._head += data
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = b""
            if not head.startswith(b"HTTP/1.1 200 "):
                self.done.set_exception(RuntimeError(f"not 200: {head + rest!r}"))
                self._transport.close()
                return
            _, _, length = head.lower().partition(b"\r\ncontent-length: ")
            self._left = int(length.partition(b"\r\n")[0]) - len(rest)
        else:
            self._left -= len(data)
        if self._left:
            return
        now = time.perf_counter()
        self._seconds.append(now - self._started)
        if now < self._stop:
            self._send()
        else:
            self._transport.close()
            self.done.set_result(None)


def measure(process: psutil.Process, port: int, request: bytes, connections: int) -> Round:
    """Measure one round of requests to 127.0.0.1:`port`, which `process` serves."""
    seconds: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        stop = time.perf_counter() + _ROUND_SECONDS
        clients = [
            (
                await loop.create_connection(
                    lambda: _Client(request, stop, seconds), "127.0.0.1", port
                )
            )
            for _ in range(connections)
        ]
        await asyncio.gather(*(protocol.done for _, protocol in clients))

    before, started = sum(process.cpu_times()[:2]), time.perf_counter()
    uvloop.run(run())
    elapsed = time.perf_counter() - started
    used = sum(process.cpu_times()[:2]) - before
    p99 = statistics.quantiles(seconds, n=100)[98] * 1000
    return Round(len(seconds) / elapsed, len(seconds) / used, p99)


def write_model(directory: Path, features: int, layers: int) -> None:
    """Write version 1 of a model `m` with `layers` square layers on `features` numbers."""
    random = np.random.default_rng(0)
    weights = []
    nodes = []
    for layer in range(layers):
        values = random.normal(0, features**-0.5, (features, features)).astype(np.float32)
        weights.append(
            helper.make_tensor(f"w{layer}", TensorProto.FLOAT, values.shape, values.ravel())
        )
        nodes.append(helper.make_node("MatMul", [f"h{layer}", f"w{layer}"], [f"m{layer}"]))
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [f"h{layer + 1}"]))
    nodes[0].input[0] = "x"
    nodes.append(helper.make_node("ReduceSum", [f"h{layers}"], ["y"], keepdims=0))
    graph = helper.make_graph(
        nodes,
        "m",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(model.SerializeToString())
    card = {
        "schema": "berth/model/v1",
        "name": "m",
        "version": "1",
        "files": {"model.onnx": file_sha256(directory / "model.onnx")},
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, features]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": []}],
        "example": _build_message(features),
        "source": {"framework": "onnx"},
    }
    (directory / "model.yaml").write_text(yaml.safe_dump(card))


def _build_message(features: int) -> dict[str, Any]:
    values = np.random.default_rng(1).uniform(0, 1, features).astype(np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, features], "data": values.tolist()}
    return {"inputs": [tensor]}


def _build_http_request(body: bytes, *headers: str) -> bytes:
    lines = [
        f"POST {infer_path('m')} HTTP/1.1",
        "host: 127.0.0.1",
        f"content-length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _build_json_request(features: int) -> bytes:
    return _build_http_request(
        json.dumps(_build_message(features)).encode(), "content-type: application/json"
    )


def _build_binary_request(features: int) -> bytes:
    message = _build_message(features)
    raw = np.array(message["inputs"][0].pop("data"), np.float32).tobytes()
    message["inputs"][0]["parameters"] = {"binary_data_size": len(raw)}
    message["parameters"] = {"binary_data_output": True}
    header = json.dumps(message).encode()
    return _build_http_request(header + raw, f"{INFERENCE_HEADER_LENGTH}: {len(header)}")


def _compare(title: str, directory: Path, features: int, loads: tuple[int, ...]) -> None:
    servers = {
        "berth, JSON": (["berth_serving"], _build_json_request(features)),
        "berth, binary": (["berth_serving"], _build_binary_request(features)),
        "bare ASGI, no checks": (
            ["benchmarks.serving_peers", "bare"],
            _build_json_request(features),
        ),
        "naive FastAPI": (["benchmarks.serving_peers", "naive"], _build_json_request(features)),
    }
    print(f"{title}\n")
    print("| | connections | requests/s | per core second | of bare | p99 ms | RSS MB |")
    print("|---|---|---|---|---|---|---|")
    with contextlib.ExitStack() as stack:
        running = {}
        for name, (command, request) in servers.items():
            (port,) = free_ports(1)
            settings = {"BERTH_MODEL_DIR": str(directory), "BERTH_PORT": str(port)}
            process = stack.enter_context(server(command, settings, port))
            running[name] = (process, port, request)
        for connections in loads:
            rounds: dict[str, list[Round]] = {name: [] for name in running}
            for number in range(_ROUNDS + 1):
                for name, (process, port, request) in running.items():
                    result = measure(process, port, request, connections)
                    if number:  # The first round warms up.
                        rounds[name].append(result)
            bare = statistics.median(r.per_core for r in rounds["bare ASGI, no checks"])
            for name, model_rounds in rounds.items():
                rate, per_core, p99 = (
                    statistics.median(getattr(r, key) for r in model_rounds)
                    for key in ("rate", "per_core", "p99")
                )
                memory = running[name][0].memory_info().rss / 2**20
                print(
                    f"| {name} | {connections} | {rate:,.0f} | {per_core:,.0f} | "
                    f"{per_core / bare:.2f} | {p99:.2f} | {memory:.0f} |"
                )
    print()


def main() -> None:
    """Measure two models and print a table for each."""
    with tempfile.TemporaryDirectory() as directory:
        tiny, medium = Path(directory) / "tiny", Path(directory) / "medium"
        write_model(tiny, _TINY, 1)
        write_model(medium, _MEDIUM, 4)
        _compare("Tiny model, 30 features", tiny, _TINY, (1, 16, 64))
        _compare("Medium model, 4 layers of 1,200", medium, _MEDIUM, (1, 16))


if __name__ == "__main__":
    main()
