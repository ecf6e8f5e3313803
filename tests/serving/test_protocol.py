"""The Open Inference Protocol, path by path, as its specification has it."""

from typing import Any

import pytest

from tests.serving.berth import Berth

A = {"name": "a", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}
B = {"name": "b", "datatype": "FP32", "shape": [2, 2], "data": [10, 20, 30, 40]}
REQUEST: dict[str, Any] = {"inputs": [A, B]}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2", {"name": "berth", "version": "0.1.0", "extensions": ["binary_tensor_data"]}),
        ("/v2/", {"name": "berth", "version": "0.1.0", "extensions": ["binary_tensor_data"]}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/m/ready", {"name": "m", "ready": True}),
        ("/v2/models/m/versions/1/ready", {"name": "m", "ready": True}),
    ],
)
def test_metadata_and_health(berth: Berth, path: str, expected: dict[str, Any]) -> None:
    response = berth.client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == expected
    head = berth.client.head(path)
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("path", ["/v2/models/m", "/v2/models/m/versions/1"])
def test_model_metadata(berth: Berth, path: str) -> None:
    described = {"datatype": "FP32", "shape": [-1, 2]}
    assert berth.client.get(path).json() == {
        "name": "m",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "a", **described}, {"name": "b", **described}],
        "outputs": [{"name": "sum", **described}, {"name": "same", **described}],
    }


@pytest.mark.parametrize("path", ["/v2/models/m/infer", "/v2/models/m/versions/1/infer"])
def test_infer(berth: Berth, path: str) -> None:
    assert berth.client.post(path, json=REQUEST).json() == {
        "model_name": "m",
        "model_version": "1",
        "outputs": [
            {"name": "sum", "datatype": "FP32", "shape": [2, 2], "data": [11, 22, 33, 44]},
            {"name": "same", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]},
        ],
    }


def test_id_comes_back(berth: Berth) -> None:
    assert berth.infer({**REQUEST, "id": "a 1 é"}).json()["id"] == "a 1 é"
    assert berth.infer({**REQUEST, "id": ""}).json()["id"] == ""
    assert "id" not in berth.infer(REQUEST).json()


def test_inputs_in_any_order_and_nested(berth: Berth) -> None:
    nested = {**A, "data": [[1, 2], [3, 4]]}
    assert berth.infer({"inputs": [B, nested]}).json() == berth.infer(REQUEST).json()


def test_only_the_outputs_asked_for_in_that_order(berth: Berth) -> None:
    answer = berth.infer({**REQUEST, "outputs": [{"name": "same"}, {"name": "sum"}]}).json()
    assert [output["name"] for output in answer["outputs"]] == ["same", "sum"]
    answer = berth.infer({**REQUEST, "outputs": [{"name": "sum"}]}).json()
    assert [output["name"] for output in answer["outputs"]] == ["sum"]


def test_no_rows_is_a_request_too(berth: Berth) -> None:
    empty = {"datatype": "FP32", "shape": [0, 2], "data": []}
    answer = berth.infer({"inputs": [{"name": "a", **empty}, {"name": "b", **empty}]})
    assert answer.json()["outputs"][0] == {"name": "sum", **empty}


def test_parameters_come_back(berth: Berth) -> None:
    own = {"x": 1, "y": True, "z": "s", "f": 1.5}
    assert berth.infer(REQUEST | {"parameters": own}).json()["parameters"] == own
    how = {"binary_data_output": False}
    assert berth.infer(REQUEST | {"parameters": own | how}).json()["parameters"] == own
    assert "parameters" not in berth.infer(REQUEST | {"parameters": how}).json()


def test_parameters_that_nobody_defined_are_no_error(berth: Berth) -> None:
    odd = {"x": 1, "y": True, "z": "s", "f": 1.5}
    request = {"inputs": [{**A, "parameters": odd}, B], "parameters": odd, "unknown": {"a": []}}
    assert berth.infer(request).status_code == 200


def test_request_id_is_taken_over_or_made(berth: Berth) -> None:
    given = berth.client.get("/v2", headers={"x-request-id": "abc-1"})
    assert given.headers["x-request-id"] == "abc-1"
    for headers in ({}, {"x-request-id": "with space"}, {"x-request-id": "x" * 129}):
        made = berth.client.get("/v2", headers=headers).headers["x-request-id"]
        assert made
        assert made not in headers.values()


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/", 404, "/docs"),
        ("GET", "/v2/models/other", 404, "'other'"),
        ("POST", "/v2/models/other/infer", 404, "'m'"),
        ("GET", "/v2/models/m/versions/2", 404, "'2'"),
        ("POST", "/v2/models/m/versions/2/infer", 404, "'1'"),
        ("GET", "/v2/models/m/infer", 405, "POST"),
        ("POST", "/v2/models/m", 405, "GET"),
        ("DELETE", "/v2", 405, "GET"),
    ],
)
def test_paths_that_are_not_there(
    berth: Berth, method: str, path: str, status: int, said: str
) -> None:
    response = berth.client.request(method, path)
    assert response.status_code == status
    assert said in response.json()["error"]
    assert ("allow" in response.headers) == (status == 405)


def test_a_wish_to_upgrade_is_not_heard(berth: Berth) -> None:
    """As Java's HTTP client sends it by default."""
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAM"}
    for _ in range(2):
        response = berth.client.post(berth.infer_path, json=REQUEST, headers=headers)
        assert response.status_code == 200
        assert response.json()["outputs"][0]["data"] == [11, 22, 33, 44]
