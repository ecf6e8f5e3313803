"""Requests that share a run: each gets its own rows, and an invalid one fails only itself."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.serving.berth import run_berth, write_model

SIZE = 192


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that returns rows of a table by index, after enough work to keep a thread busy."""
    table = np.arange(SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    nodes = [helper.make_node("Gather", ["table", "index"], ["t0"])]
    nodes += [helper.make_node("MatMul", [f"t{i}", "eye"], [f"t{i + 1}"]) for i in range(40)]
    nodes.append(helper.make_node("Identity", ["t40"], ["row"]))
    eye = np.eye(SIZE, dtype=np.float32)
    return write_model(
        tmp_path_factory.mktemp("model"),
        nodes,
        [("index", "INT64", ["rows"])],
        [("row", "FP32", ["rows", SIZE])],
        {"inputs": [{"name": "index", "datatype": "INT64", "shape": [2], "data": [0, 1]}]},
        initializers=[
            helper.make_tensor("table", TensorProto.FLOAT, table.shape, table.ravel()),
            helper.make_tensor("eye", TensorProto.FLOAT, eye.shape, eye.ravel()),
        ],
    )


def _request(*index: int) -> bytes:
    entry = {"name": "index", "datatype": "INT64", "shape": [len(index)], "data": list(index)}
    return json.dumps({"inputs": [entry]}).encode()


def test_batched_requests_get_their_own_rows(model: Path, log: Path) -> None:
    settings = {"threads": "1", "batch_size": "16", "loop_threshold_ms": "0"}
    with run_berth(model, log, **settings) as berth, ThreadPoolExecutor(16) as pool:
        pairs = [(i % SIZE, (i * 7) % SIZE) for i in range(400)]
        responses = list(pool.map(lambda pair: berth.infer(_request(*pair)), pairs))
        for pair, response in zip(pairs, responses, strict=True):
            data = np.array(response.json()["outputs"][0]["data"]).reshape(2, SIZE)
            assert data[:, 0].tolist() == [index * SIZE for index in pair]
        runs = berth.metric("berth_batch_rows_count")
        assert berth.metric("berth_batch_rows_sum") == 800
        assert runs < 400


def test_invalid_request_does_not_fail_batch(model: Path, log: Path) -> None:
    """An index out of range fails in the run, which the request shares with valid ones."""
    settings = {"threads": "1", "batch_size": "16", "loop_threshold_ms": "0"}
    with run_berth(model, log, **settings) as berth, ThreadPoolExecutor(16) as pool:
        indexes = [SIZE + 5 if i % 10 == 0 else i % SIZE for i in range(200)]
        responses = list(pool.map(lambda index: berth.infer(_request(index)), indexes))
        for index, response in zip(indexes, responses, strict=True):
            if index > SIZE:
                assert response.status_code == 400
                assert "an index is outside its range" in response.json()["error"]
            else:
                assert response.json()["outputs"][0]["data"][0] == index * SIZE
        # ONNX Runtime's own log lines would contain the index and would not be JSON.
        assert all("idx" not in str(line) for line in berth.read_log())


def test_model_that_merges_rows_does_not_mix_requests(tmp_path: Path, log: Path) -> None:
    """The output has one row per distinct row, so a shared run would return too few rows."""
    model = write_model(
        tmp_path / "model",
        [helper.make_node("Unique", ["x"], ["y"], axis=0, sorted=0)],
        [("x", "FP32", ["n", 1])],
        [("y", "FP32", ["k", 1])],
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]},
    )
    settings = {"threads": "1", "batch_size": "8", "loop_threshold_ms": "0"}
    with run_berth(model, log, **settings) as berth, ThreadPoolExecutor(16) as pool:

        def infer(value: int) -> object:
            tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [value]}
            return berth.infer({"inputs": [tensor]}).json()["outputs"][0]["data"]

        values = [i // 8 for i in range(400)]
        assert list(pool.map(infer, values)) == [[value] for value in values]
