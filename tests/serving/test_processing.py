"""A version with pre- and post-processing: what its file does to requests, errors and memory."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from onnx import helper

from berth_protocol.model_card import file_sha256
from tests.serving.berth import Berth, free_port, run_berth, start_berth, wait_until, write_model

_FILE = """
import logging
import sys
import numpy as np
from berth_serving.processing import Arrays, InvalidInputError, Tensor

INPUTS = [Tensor("celsius", "FP64", [-1, 2]), Tensor("note", "BYTES", [-1], max_bytes=64)]
OUTPUTS = [Tensor("state", "BYTES", [-1])]

def preprocess(inputs: Arrays) -> Arrays:
    celsius, note = inputs["celsius"], inputs["note"][0]
    if np.any(celsius < -273.15):
        raise InvalidInputError("celsius: a value is below -273.15.")
    if note == "stop":
        next(iter(()))
    if note == "exit":
        sys.exit(1)
    if note == "change":
        celsius += 1
    if note == "number":
        float(note)
    if note == "overflow":
        assert np.isinf(np.exp(celsius * 1000)).all()
    if note == "memory":
        np.ones(1 << 40)
    logging.getLogger("berth.serve").info("%d rows", len(celsius))
    return {"x": (celsius / 100).astype(np.float32)}

def postprocess(outputs: Arrays) -> Arrays:
    hottest = outputs["y"].max(axis=1)
    if np.any(hottest > 1000):
        return {"state": hottest}
    return {"state": np.where(hottest > 1, "hot", "cold")}
"""


def _write_version(directory: Path) -> Path:
    write_model(
        directory,
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [("x", "FP32", ["rows", 2])],
        [("y", "FP32", ["rows", 2])],
        _request("", 10.0),
    )
    (directory / "serve.py").write_text(_FILE)
    path = directory / "model.yaml"
    card = yaml.safe_load(path.read_text())
    card |= {
        "processing": "serve.py",
        "has_rows": True,
        "inputs": [
            {"name": "celsius", "datatype": "FP64", "shape": [-1, 2]},
            {"name": "note", "datatype": "BYTES", "shape": [-1], "max_bytes": 64},
        ],
        "outputs": [{"name": "state", "datatype": "BYTES", "shape": [-1]}],
    }
    card["files"]["serve.py"] = file_sha256(directory / "serve.py")
    path.write_text(yaml.safe_dump(card))
    return directory


def _request(note: str, *celsius: float) -> dict[str, Any]:
    rows = len(celsius)
    data = [value for value in celsius for _ in range(2)]
    return {
        "inputs": [
            {"name": "celsius", "datatype": "FP64", "shape": [rows, 2], "data": data},
            {"name": "note", "datatype": "BYTES", "shape": [rows], "data": [note] * rows},
        ]
    }


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_version(tmp_path_factory.mktemp("version"))


@pytest.fixture(scope="module")
def berth(version: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    log = tmp_path_factory.mktemp("berth") / "log"
    with run_berth(version, log, batch_size="8", threads="1", memory_bytes=str(1 << 30)) as berth:
        yield berth


def _states(berth: Berth, request: dict[str, Any]) -> Any:
    response = berth.infer(request)
    assert response.status_code == 200, response.text
    return response.json()["outputs"][0]["data"]


def test_clients_send_and_receive_the_declared_tensors(berth: Berth) -> None:
    assert _states(berth, _request("", 10.0, 80.0)) == ["cold", "hot"]
    metadata = berth.client.get("/v2/models/m").json()
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["celsius", "note"]
    assert metadata["outputs"] == [{"name": "state", "datatype": "BYTES", "shape": [-1]}]
    schemas = berth.client.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["InputTensor"]["properties"]["name"]["enum"] == ["celsius", "note"]


def test_requests_are_validated_before_the_file_runs(berth: Berth) -> None:
    wrong = _request("", 10.0)
    wrong["inputs"][0]["datatype"] = "FP32"
    assert "expects FP64" in berth.infer(wrong).json()["error"]
    assert berth.infer(_request("n" * 65, 10.0)).status_code == 413


def test_refused_input_is_answered_with_400_and_the_message_of_the_file(berth: Berth) -> None:
    response = berth.infer(_request("", -300.0))
    assert response.status_code == 400
    assert response.json() == {"error": "celsius: a value is below -273.15."}


@pytest.mark.parametrize(
    ("note", "celsius", "reason", "trace"),
    [
        ("stop", 1.0, "preprocess failed with StopIteration", "next(iter(()))"),
        ("exit", 1.0, "preprocess failed with SystemExit", "sys.exit(1)"),
        ("change", 1.0, "preprocess failed with ValueError", "celsius += 1"),
        ("number", 1.0, "preprocess failed with ValueError", "float(note)"),
        ("", 1e6, "returned float32 [1] for 'state'; BYTES [-1] is expected", ""),
    ],
)
def test_error_of_the_file_is_answered_with_500_and_logged_without_values(
    note: str, celsius: float, reason: str, trace: str, berth: Berth
) -> None:
    response = berth.infer(_request(note, celsius), headers={"x-request-id": f"id-{note}"})
    assert response.status_code == 500
    assert response.json()["error"].startswith("Internal error in this berth.")

    def errors() -> list[dict[str, Any]]:
        lines = berth.read_log()
        return [
            line for line in lines if line.get("request_id") == f"id-{note}" and "trace" in line
        ]

    wait_until(lambda: bool(errors()), "trace")
    (line,) = errors()
    assert reason in line["reason"]
    assert trace in line["trace"]
    assert ("serve.py" in line["trace"]) == bool(trace)
    # The message of the exception, "could not convert string to float: 'number'".
    assert "could not convert" not in str(line)
    assert _states(berth, _request("", 80.0)) == ["hot"]


def test_file_that_needs_too_much_memory_is_answered_with_413(berth: Berth) -> None:
    assert berth.infer(_request("memory", 1.0)).status_code == 413


def test_numbers_out_of_range_are_no_errors_in_the_file(berth: Berth) -> None:
    assert _states(berth, _request("overflow", 1.0)) == ["cold"]


def test_refused_request_does_not_fail_those_that_share_its_run(berth: Berth) -> None:
    requests = [_request("", value) for value in (10.0, 80.0, -300.0) * 20]
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(berth.infer, requests))
    for request, response in zip(requests, responses, strict=True):
        value = request["inputs"][0]["data"][0]
        expected = {10.0: ["cold"], 80.0: ["hot"]}.get(value)
        if expected is None:
            assert response.status_code == 400
        else:
            assert response.json()["outputs"][0]["data"] == expected


def test_log_of_the_file_is_part_of_the_log_of_the_berth(berth: Berth) -> None:
    _states(berth, _request("", 1.0, 2.0, 3.0))
    wait_until(lambda: "3 rows" in [line["message"] for line in berth.read_log()], "log line")


def test_version_stays_unchanged_when_its_file_runs(berth: Berth, version: Path) -> None:
    assert {path.name for path in version.iterdir()} == {"model.onnx", "model.yaml", "serve.py"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hot", "warm", "serve.py: is sha256:"),
        ('"FP64"', '"FP32"', "serve.py declares other inputs than the model card"),
        ("/ 100)", "/ [])", "failed on the example in the model card"),
        ("import logging", "import nothing", "ModuleNotFoundError"),
    ],
)
def test_berth_does_not_start_with_a_file_that_it_cannot_serve(
    old: str, new: str, message: str, tmp_path: Path, log: Path
) -> None:
    directory = _write_version(tmp_path / "version")
    file, card = directory / "serve.py", directory / "model.yaml"
    before = file_sha256(file)
    file.write_text(_FILE.replace(old, new))
    if new != "warm":
        card.write_text(card.read_text().replace(before, file_sha256(file)))
    process = start_berth(directory, log, free_port())
    assert process.wait(timeout=60) == 3
    assert message in log.read_text()
