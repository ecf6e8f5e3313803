"""A stack is deployed, responds, is unchanged by a second update, and is destroyed completely."""

import json

import httpx
import numpy as np
import onnxruntime
import psutil
import pytest

from berth.engine import ensure_engine
from berth.operations.state_file import is_selected
from berth_protocol.model_card import digest, read_card
from tests.bitmap_model import BITMAPS, build_bitmap_request, package_bitmap_model
from tests.engine.project import Project


def test_first_up_prints_request_and_response(project: Project) -> None:
    output = project.berth("up", "--yes").stdout
    *_, curl, _, response = output.strip().splitlines()
    assert curl.startswith("curl -s http://127.0.0.1:")
    assert json.loads(response)["model_name"] == "digits"
    assert project.key() not in output


def test_response_equals_onnxruntime_output(up: Project) -> None:
    response = up.json("invoke", "digits", "--version", "1")
    model_dir = up.root / "models" / "digits" / "1"
    example = read_card(model_dir).example["inputs"][0]
    rows = np.array(example["data"], np.float32).reshape(example["shape"])
    session = onnxruntime.InferenceSession(model_dir / "model.onnx")
    expected = session.run(None, {example["name"]: rows})
    assert response["model_name"] == "digits"
    assert response["model_version"] == "1"
    for output, values in zip(response["outputs"], expected, strict=True):
        np.testing.assert_array_equal(
            np.array(output["data"], values.dtype).reshape(output["shape"]), values
        )


def test_deployed_stack_is_the_selected_one_of_plain_pulumi(up: Project) -> None:
    """Berth reads the engine's file, and otherwise starts the engine to select the stack again."""
    environment = ensure_engine(lambda _: None).environment(up.root)
    assert is_selected(up.root, "local", environment)
    assert not is_selected(up.root, "other", environment)
    other_backend = environment | {"PULUMI_BACKEND_URL": "file:///nowhere"}
    assert not is_selected(up.root, "local", other_backend)


def test_second_preview_has_no_changes(up: Project) -> None:
    up.berth("preview", "--expect-no-changes")
    assert up.json("preview")["steps"] == []


def test_status_shows_state_traffic_and_digest(up: Project) -> None:
    status = up.json("status")
    assert status["endpoint"].startswith("http://127.0.0.1:")
    assert status["gateway"] == "ready"
    versions = status["models"]["digits"]["versions"]
    assert {v: entry["state"] for v, entry in versions.items()} == {"1": "ready", "2": "ready"}
    assert {v: entry["traffic"] for v, entry in versions.items()} == {"1": 90, "2": 10}
    for version, entry in versions.items():
        assert entry["digest"] == digest(up.root / "models" / "digits" / version)


def test_gateway_rejects_requests_without_valid_key(up: Project) -> None:
    endpoint = up.json("status")["endpoint"]
    for headers in ({}, {"x-api-key": "guess"}):
        assert httpx.post(f"{endpoint}/v2/models/digits/infer", headers=headers).status_code == 401
    ready = httpx.get(f"{endpoint}/v2/health/ready")
    assert ready.status_code == 200


def test_berth_rejects_requests_that_bypass_the_gateway(up: Project) -> None:
    url = up.json("status")["models"]["digits"]["versions"]["1"]["url"]
    example = read_card(up.root / "models" / "digits" / "1").example
    assert httpx.post(f"{url}/v2/models/digits/infer", json=example).status_code == 401


def test_processes_listen_only_on_loopback(up: Project) -> None:
    addresses = {
        connection.laddr.ip
        for process in up.find_processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_logs_contain_no_payloads(up: Project) -> None:
    up.berth("invoke", "digits")
    logs = up.berth("logs", "-n", "1000").stdout
    assert "digits" in logs
    assert '"data"' not in logs


def test_json_logs_have_one_record_per_line(up: Project) -> None:
    output = up.berth("logs", "digits", "--json", "-n", "1000").stdout
    records = [json.loads(line) for line in output.splitlines()]
    assert {record["process"].rsplit("-", 1)[0] for record in records} == {"digits-1", "digits-2"}
    assert any(record["message"].startswith("Serving digits 1") for record in records)


def test_unknown_model_error_lists_known_models(up: Project) -> None:
    error = up.berth("invoke", "digit", code=1).stderr
    assert "digits" in error


def test_model_with_processing_answers_in_the_terms_of_its_file(up: Project) -> None:
    package_bitmap_model(up.root / "models")
    up.deploy(lambda config: config["berth:models"].update({BITMAPS: {"versions": {"1": {}}}}))
    outputs = {entry["name"]: entry["data"] for entry in up.json("invoke", BITMAPS)["outputs"]}
    assert outputs["digit"] == ["0", "9"]
    status = up.json("status")
    response = httpx.post(
        f"{status['endpoint']}/v2/models/{BITMAPS}/infer",
        json=build_bitmap_request(0),
        headers={"x-api-key": up.key()},
    )
    assert (response.status_code, response.json()["error"]) == (400, "bitmap: image 0 has no ink.")
    berth = status["models"][BITMAPS]["versions"]["1"]
    assert berth["digest"] == digest(up.root / "models" / BITMAPS / "1")


def test_destroy_removes_processes_and_files(up: Project) -> None:
    endpoint = up.json("status")["endpoint"]
    up.berth("destroy", "--yes")
    assert up.find_processes() == []
    assert not up.run_dir.path.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{endpoint}/v2/health/live")
    assert "berth up" in up.berth("status", code=1).stderr


def test_destroy_of_destroyed_stack_succeeds(project: Project) -> None:
    project.ensure_destroyed()
    project.berth("destroy", "--yes")


def test_up_after_destroy_deploys_again(project: Project) -> None:
    project.ensure_destroyed()
    project.berth("up", "--yes")
    assert project.json("invoke", "digits")["model_name"] == "digits"
