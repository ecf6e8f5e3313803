"""A real berth: `python -m berth_serving` on a free port, and models made for the test."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import onnx
import yaml
from onnx import TensorProto, helper

from berth_protocol.model_card import file_sha256
from tests.repository import REPOSITORY

_START_SECONDS = 30.0

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


def tensor(name: str, datatype: str, shape: Shape) -> Any:
    return helper.make_tensor_value_info(name, ONNX_TYPES[datatype], list(shape))


def write_model(
    folder: Path,
    nodes: Sequence[Any],
    inputs: Sequence[tuple[str, str, Shape]],
    outputs: Sequence[tuple[str, str, Shape]],
    example: dict[str, Any],
    *,
    initializers: Sequence[Any] = (),
    name: str = "m",
) -> Path:
    """A version `m` `1` in `folder`, with its card."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [tensor(*entry) for entry in inputs],
        [tensor(*entry) for entry in outputs],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")

    def described(entries: Sequence[tuple[str, str, Shape]]) -> list[dict[str, Any]]:
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
        "files": {"model.onnx": file_sha256(folder / "model.onnx")},
        "inputs": described(inputs),
        "outputs": described(outputs),
        "example": example,
        "source": {"framework": "onnx"},
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(card))
    return folder


def identity(folder: Path, datatype: str, shape: Shape, data: list[Any]) -> Path:
    """A model that answers what it is asked."""
    dims = [dim if isinstance(dim, int) else len(data) for dim in shape]
    example = {"inputs": [{"name": "x", "datatype": datatype, "shape": dims, "data": data}]}
    return write_model(
        folder,
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", datatype, shape)],
        [("y", datatype, shape)],
        example,
    )


def slow(folder: Path, *, size: int = 256) -> Path:
    """A model whose time grows with its input `n`: as many matrix products, one after another."""
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
        folder,
        nodes,
        [("n", "INT64", [1])],
        [("y", "FP32", [1])],
        example,
        initializers=[weights, one],
    )


def slow_request(times: int) -> dict[str, Any]:
    return {"inputs": [{"name": "n", "datatype": "INT64", "shape": [1], "data": [times]}]}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@dataclass
class Berth:
    """A berth that runs."""

    process: "subprocess.Popen[str]"
    port: int
    log: Path
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def infer(self, request: Any, **options: Any) -> httpx.Response:
        content = request if isinstance(request, bytes) else json.dumps(request).encode()
        return self.client.post(self.infer_path, content=content, **options)

    infer_path: str = "/v2/models/m/infer"

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def metric(self, start: str, *containing: str) -> float:
        """The sum of the samples whose line begins so and contains all of that."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith(start) and all(part in line for part in containing)
        )


def start(model: Path, log: Path, port: int, /, **settings: str) -> "subprocess.Popen[str]":
    """The process, not waited for."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("BERTH_", "OTEL_"))
    }
    environment |= {"BERTH_MODEL_DIR": str(model), "BERTH_PORT": str(port)}
    for key, value in settings.items():
        environment[key if key.startswith("OTEL_") else f"BERTH_{key.upper()}"] = value
    with log.open("w") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "berth_serving"],
            cwd=REPOSITORY,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            text=True,
        )


@contextmanager
def running(model: Path, log: Path, **settings: str) -> Iterator[Berth]:
    """A berth that is ready; it is ended with the block."""
    process = start(model, log, port := free_port(), **settings)
    try:
        berth = Berth(process, port, log)
        deadline = time.monotonic() + _START_SECONDS
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
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def refused(model: Path, log: Path, /, **settings: str) -> tuple[int, str]:
    """Exit status and log of a berth that does not start."""
    process = start(model, log, free_port(), **settings)
    try:
        status = process.wait(timeout=_START_SECONDS)
    finally:
        process.kill()
        process.wait()
    return status, log.read_text()
