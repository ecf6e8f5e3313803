"""A stack comes up, answers, changes nothing twice, and goes without a trace."""

import json

import httpx
import numpy as np
import onnxruntime
import pytest

from berth_protocol.model_card import digest, read_card
from tests.engine.project import Project


def test_first_up_ends_with_a_curl_line_and_its_answer(project: Project) -> None:
    output = project.berth("up", "--yes").stdout
    *_, curl, _, answer = output.strip().splitlines()
    assert curl.startswith("curl -s http://127.0.0.1:")
    assert json.loads(answer)["model_name"] == "digits"
    assert project.key() not in output


def test_answer_is_onnxruntimes_own(up: Project) -> None:
    answer = up.json("invoke", "digits", "--version", "1")
    card = read_card(up.root / "models" / "digits" / "1")
    example = card.example["inputs"][0]
    rows = np.array(example["data"], np.float32).reshape(example["shape"])
    session = onnxruntime.InferenceSession(up.root / "models" / "digits" / "1" / "model.onnx")
    expected = session.run(None, {example["name"]: rows})
    assert answer["model_name"] == "digits"
    assert answer["model_version"] == "1"
    for output, values in zip(answer["outputs"], expected, strict=True):
        np.testing.assert_array_equal(
            np.array(output["data"], values.dtype).reshape(output["shape"]), values
        )


def test_second_preview_is_empty(up: Project) -> None:
    up.berth("preview", "--expect-no-changes")
    assert up.json("preview")["steps"] == []


def test_status_tells_what_runs(up: Project) -> None:
    status = up.json("status")
    assert status["endpoint"].startswith("http://127.0.0.1:")
    assert status["gateway"] == "ready"
    versions = status["models"]["digits"]["versions"]
    assert {v: entry["state"] for v, entry in versions.items()} == {"1": "ready", "2": "ready"}
    assert {v: entry["traffic"] for v, entry in versions.items()} == {"1": 90, "2": 10}
    for version, entry in versions.items():
        assert entry["digest"] == digest(up.root / "models" / "digits" / version)


def test_only_a_key_opens_the_gateway(up: Project) -> None:
    endpoint = up.json("status")["endpoint"]
    for headers in ({}, {"x-api-key": "guess"}):
        assert httpx.post(f"{endpoint}/v2/models/digits/infer", headers=headers).status_code == 401
    ready = httpx.get(f"{endpoint}/v2/health/ready")
    assert ready.status_code == 200


def test_a_berth_answers_only_the_gateway(up: Project) -> None:
    url = up.json("status")["models"]["digits"]["versions"]["1"]["url"]
    example = read_card(up.root / "models" / "digits" / "1").example
    assert httpx.post(f"{url}/v2/models/digits/infer", json=example).status_code == 401


def test_logs_are_there_without_payloads(up: Project) -> None:
    up.berth("invoke", "digits")
    logs = up.berth("logs", "-n", "1000").stdout
    assert "digits" in logs
    assert '"data"' not in logs


def test_logs_for_machines_are_json_lines(up: Project) -> None:
    records = [
        json.loads(line) for line in up.berth("logs", "digits", "--json").stdout.splitlines()
    ]
    assert {record["process"].rsplit("-", 1)[0] for record in records} == {"digits-1", "digits-2"}
    assert any(record["message"].startswith("serving digits 1") for record in records)


def test_an_unknown_model_is_named_with_those_there_are(up: Project) -> None:
    error = up.berth("invoke", "digit", code=1).stderr
    assert "digits" in error


def test_destroy_leaves_nothing(up: Project) -> None:
    endpoint = up.json("status")["endpoint"]
    up.berth("destroy", "--yes")
    assert up.marked() == []
    assert not up.run_dir.path.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{endpoint}/v2/health/live")
    assert "berth up" in up.berth("status", code=1).stderr


def test_destroy_of_nothing_is_no_error(up: Project) -> None:
    up.berth("destroy", "--yes")


def test_up_again_after_destroy(up: Project) -> None:
    up.berth("up", "--yes")
    assert up.json("invoke", "digits")["model_name"] == "digits"
    up.berth("destroy", "--yes")
