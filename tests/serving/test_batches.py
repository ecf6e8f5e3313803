"""Requests joined while busy: each gets its own rows, and one that is wrong spoils no other."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.serving.berth import running, write_model

SIZE = 192


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Row `i` of the answer is row `index[i]` of a table, after enough work to keep busy."""
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


def test_each_gets_its_own_rows(model: Path, log: Path) -> None:
    settings = {"threads": "1", "batch_size": "16", "loop_threshold_ms": "0"}
    with running(model, log, **settings) as berth, ThreadPoolExecutor(16) as pool:
        wanted = [(i % SIZE, (i * 7) % SIZE) for i in range(400)]
        answers = list(pool.map(lambda pair: berth.infer(_request(*pair)), wanted))
        for pair, answer in zip(wanted, answers, strict=True):
            data = np.array(answer.json()["outputs"][0]["data"]).reshape(2, SIZE)
            assert data[:, 0].tolist() == [index * SIZE for index in pair]
        runs = berth.metric("berth_batch_rows_count")
        assert berth.metric("berth_batch_rows_sum") == 800
        assert runs < 400


def test_one_that_is_wrong_spoils_no_other(model: Path, log: Path) -> None:
    """An index beyond the table fails in the run, where it is joined with good ones."""
    settings = {"threads": "1", "batch_size": "16", "loop_threshold_ms": "0"}
    with running(model, log, **settings) as berth, ThreadPoolExecutor(16) as pool:
        wanted = [SIZE + 5 if i % 10 == 0 else i % SIZE for i in range(200)]
        answers = list(pool.map(lambda index: berth.infer(_request(index)), wanted))
        for index, answer in zip(wanted, answers, strict=True):
            if index > SIZE:
                assert answer.status_code == 400
                assert "cannot be run on these values" in answer.json()["error"]
            else:
                assert answer.json()["outputs"][0]["data"][0] == index * SIZE
        # onnxruntime's own words would have the index in them; every line here is JSON of ours.
        assert all("idx" not in str(line) for line in berth.logged())


def test_rows_that_cannot_be_told_apart_are_not_shared_out(tmp_path: Path, log: Path) -> None:
    """The answer has a row for each different row: joined, one request's would be another's."""
    model = write_model(
        tmp_path,
        [helper.make_node("Unique", ["x"], ["y"], axis=0, sorted=0)],
        [("x", "FP32", ["n", 1])],
        [("y", "FP32", ["k", 1])],
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]},
    )
    settings = {"threads": "1", "batch_size": "8", "loop_threshold_ms": "0"}
    with running(model, log, **settings) as berth, ThreadPoolExecutor(16) as pool:

        def ask(value: int) -> object:
            tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [value]}
            return berth.infer({"inputs": [tensor]}).json()["outputs"][0]["data"]

        values = [i // 8 for i in range(400)]
        assert list(pool.map(ask, values)) == [[value] for value in values]
