"""A real berth: `python -m berth_serving` on a free port, and small models for it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import onnx
import yaml
from onnx import TensorProto, helper

from berth_protocol.model_card import file_sha256
from tests.forked_process import ForkedProcess, fork
from tests.repository import REPOSITORY

_WAIT_SECONDS = 120.0

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}

Shape = Sequence[int | str | None]


def _value_info(name: str, datatype: str, shape: Shape) -> Any:
    return helper.make_tensor_value_info(name, ONNX_TYPES[datatype], list(shape))


def write_model(
    directory: Path,
    nodes: Sequence[Any],
    inputs: Sequence[tuple[str, str, Shape]],
    outputs: Sequence[tuple[str, str, Shape]],
    example: dict[str, Any],
    *,
    initializers: Sequence[Any] = (),
    name: str = "m",
) -> Path:
    """Write version 1 of the model `m`, with its card, and return its directory."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [_value_info(*entry) for entry in inputs],
        [_value_info(*entry) for entry in outputs],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(model, directory / "model.onnx")

    def describe(entries: Sequence[tuple[str, str, Shape]]) -> list[dict[str, Any]]:
        return [
            {
                "name": entry[0],
                "datatype": entry[1],
                "shape": [dim if isinstance(dim, int) else -1 for dim in entry[2]],
            }
            for entry in entries
        ]

    card = {
        "schema": "berth/model/v1",
        "name": name,
        "version": "1",
        "files": {"model.onnx": file_sha256(directory / "model.onnx")},
        "inputs": describe(inputs),
        "outputs": describe(outputs),
        "example": example,
        "source": {"framework": "onnx"},
    }
    (directory / "model.yaml").write_text(yaml.safe_dump(card))
    return directory


def write_identity_model(directory: Path, datatype: str, shape: Shape, data: list[Any]) -> Path:
    """Write a model whose output is its input."""
    dims = [dim if isinstance(dim, int) else len(data) for dim in shape]
    example = {"inputs": [{"name": "x", "datatype": datatype, "shape": dims, "data": data}]}
    return write_model(
        directory,
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", datatype, shape)],
        [("y", datatype, shape)],
        example,
    )


def write_slow_model(directory: Path, *, size: int = 256) -> Path:
    """Write a model that computes `n` matrix products, one after another; `n` is its input."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes"]),
            helper.make_node("MatMul", ["a", "w"], ["a_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a", TensorProto.FLOAT, [size, size]),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a_out", TensorProto.FLOAT, [size, size]),
        ],
    )
    eye = [float(at % (size + 1) == 0) for at in range(size * size)]
    weights = helper.make_tensor("w", TensorProto.FLOAT, [size, size], eye)
    nodes = [
        helper.make_node("ReduceSum", ["n"], ["times"], keepdims=0),
        helper.make_node("Loop", ["times", "", "w"], ["last"], body=body),
        helper.make_node("ReduceSum", ["last"], ["sum"], keepdims=0),
        helper.make_node("Reshape", ["sum", "one"], ["y"]),
    ]
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    example = {"inputs": [{"name": "n", "datatype": "INT64", "shape": [1], "data": [50]}]}
    return write_model(
        directory,
        nodes,
        [("n", "INT64", [1])],
        [("y", "FP32", [1])],
        example,
        initializers=[weights, one],
    )


def slow_request(times: int) -> dict[str, Any]:
    """Return a request of `times` matrix products for the slow model."""
    return {"inputs": [{"name": "n", "datatype": "INT64", "shape": [1], "data": [times]}]}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], description: str) -> None:
    """Return when the condition is true."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {description}"
        time.sleep(0.01)


@dataclass
class Berth:
    """A running berth."""

    process: "subprocess.Popen[str] | ForkedProcess"
    port: int
    log: Path
    client: httpx.Client = field(init=False)
    infer_path: str = "/v2/models/m/infer"

    def __post_init__(self) -> None:
        self.client = self.create_client()

    def create_client(self) -> httpx.Client:
        """Return a client with its own connections."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=_WAIT_SECONDS, verify=False
        )

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=_WAIT_SECONDS)

    def infer(self, request: Any, **options: Any) -> httpx.Response:
        """Send an inference request: a message, or the bytes of a body."""
        content = request if isinstance(request, bytes) else json.dumps(request).encode()
        return self.client.post(self.infer_path, content=content, **options)

    def read_log(self) -> list[dict[str, Any]]:
        """Return the complete lines of the log."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def count_started_workers(self) -> int:
        """Return how many workers have loaded the model since the start."""
        return sum(line["message"].startswith("Serving m 1 ") for line in self.read_log())

    def metric(self, start: str, *parts: str) -> float:
        """Return the sum of the samples whose line starts with `start` and contains all parts."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith(start) and all(part in line for part in parts)
        )

    def wait_for_in_flight(self, count: int) -> None:
        """Return when that many inference requests are in flight."""
        wait_until(lambda: self.metric("berth_in_flight_requests") == count, f"{count} in flight")

    def wait_for_exit(self) -> int:
        """Return the exit status once the process has exited by itself."""
        return self.process.wait(timeout=_WAIT_SECONDS)


def start_berth(
    model: Path,
    log: Path,
    port: int,
    /,
    *,
    module: str = "berth_serving",
    environment: Mapping[str, str] | None = None,
    is_forked: bool = True,
    **settings: str,
) -> "subprocess.Popen[str] | ForkedProcess":
    """Start a berth and return its process at once.

    A berth with several workers is never forked: it starts processes itself.

    Args:
        module: Program to run.
        environment: Additional environment variables.
        is_forked: Fork the process. Otherwise run `python -m MODULE`.
        settings: Settings, without their prefix `BERTH_` and in lower case.
    """
    variables = {
        key: value for key, value in os.environ.items() if not key.startswith(("BERTH_", "OTEL_"))
    }
    variables |= {"BERTH_MODEL_DIR": str(model), "BERTH_PORT": str(port)}
    # A supervisor that a test kills cannot remove the directory of its metrics.
    variables["TMPDIR"] = str(log.parent)
    variables |= {f"BERTH_{key.upper()}": value for key, value in settings.items()}
    variables |= environment or {}
    if is_forked and variables.get("BERTH_WORKERS", "1") == "1":
        log.write_text("")
        return fork(module, variables, log, log)
    with log.open("w") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=REPOSITORY,
            env=variables,
            stdout=stream,
            stderr=subprocess.STDOUT,
            text=True,
        )


@contextmanager
def run_berth(model: Path, log: Path, **options: Any) -> Iterator[Berth]:
    """Run a berth within the block, from the moment when it is ready."""
    process = start_berth(model, log, port := free_port(), **options)
    try:
        berth = Berth(process, port, log)
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                if berth.client.get("/v2/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield berth
        berth.client.close()
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=_WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_until_exit(model: Path, log: Path, /, **settings: Any) -> tuple[int, str]:
    """Return the exit status and the log of a berth that does not start."""
    process = start_berth(model, log, free_port(), **settings)
    try:
        status = process.wait(timeout=_WAIT_SECONDS)
    finally:
        process.kill()
        process.wait()
    return status, log.read_text()
