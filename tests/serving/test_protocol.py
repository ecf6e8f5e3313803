"""The Open Inference Protocol over HTTP, path by path."""

import json
from typing import Any

import numpy as np
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
def test_server_path_returns_its_message(berth: Berth, path: str, expected: dict[str, Any]) -> None:
    response = berth.client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == expected
    head = berth.client.head(path)
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("path", ["/v2/models/m", "/v2/models/m/versions/1"])
def test_model_path_returns_metadata(berth: Berth, path: str) -> None:
    tensor = {"datatype": "FP32", "shape": [-1, 2]}
    assert berth.client.get(path).json() == {
        "name": "m",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "a", **tensor}, {"name": "b", **tensor}],
        "outputs": [{"name": "sum", **tensor}, {"name": "same", **tensor}],
    }


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/m/infer",
        "/v2/models/m/infer/",
        "/v2/models/m/infer?a=%2F",
        "/v2/models/%6D/%69nfer",
        "/v2/models/m/versions/1/infer",
    ],
)
def test_infer_path_returns_outputs(berth: Berth, path: str) -> None:
    assert berth.client.post(path, json=REQUEST).json() == {
        "model_name": "m",
        "model_version": "1",
        "outputs": [
            {"name": "sum", "datatype": "FP32", "shape": [2, 2], "data": [11, 22, 33, 44]},
            {"name": "same", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]},
        ],
    }


def test_response_repeats_id(berth: Berth) -> None:
    assert berth.infer({**REQUEST, "id": "a 1 é"}).json()["id"] == "a 1 é"
    assert berth.infer({**REQUEST, "id": ""}).json()["id"] == ""
    assert "id" not in berth.infer(REQUEST).json()


def test_inputs_may_be_nested_and_in_any_order(berth: Berth) -> None:
    nested = {**A, "data": [[1, 2], [3, 4]]}
    assert berth.infer({"inputs": [B, nested]}).json() == berth.infer(REQUEST).json()


def test_response_has_requested_outputs_in_order(berth: Berth) -> None:
    response = berth.infer({**REQUEST, "outputs": [{"name": "same"}, {"name": "sum"}]}).json()
    assert [output["name"] for output in response["outputs"]] == ["same", "sum"]
    response = berth.infer({**REQUEST, "outputs": [{"name": "sum"}]}).json()
    assert [output["name"] for output in response["outputs"]] == ["sum"]


def test_request_without_rows_returns_no_rows(berth: Berth) -> None:
    empty = {"datatype": "FP32", "shape": [0, 2], "data": []}
    response = berth.infer({"inputs": [{"name": "a", **empty}, {"name": "b", **empty}]})
    assert response.json()["outputs"][0] == {"name": "sum", **empty}


def test_response_repeats_parameters(berth: Berth) -> None:
    own = {"x": 1, "y": True, "z": "s", "f": 1.5}
    assert berth.infer(REQUEST | {"parameters": own}).json()["parameters"] == own
    output_form = {"binary_data_output": False}
    assert berth.infer(REQUEST | {"parameters": own | output_form}).json()["parameters"] == own
    assert "parameters" not in berth.infer(REQUEST | {"parameters": output_form}).json()


def test_unknown_parameters_and_fields_are_ignored(berth: Berth) -> None:
    odd = {"x": 1, "y": True, "z": "s", "f": 1.5}
    request = {"inputs": [{**A, "parameters": odd}, B], "parameters": odd, "unknown": {"a": []}}
    assert berth.infer(request).status_code == 200


def test_valid_request_id_is_kept_and_invalid_one_replaced(berth: Berth) -> None:
    response = berth.client.get("/v2", headers={"x-request-id": "abc-1"})
    assert response.headers["x-request-id"] == "abc-1"
    for headers in ({}, {"x-request-id": "with space"}, {"x-request-id": "x" * 129}):
        new = berth.client.get("/v2", headers=headers).headers["x-request-id"]
        assert new
        assert new not in headers.values()


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("GET", "/", 404, "/docs"),
        ("POST", "/v2/models/m%2Finfer", 404, "/v2/models/m%2Finfer"),
        ("POST", "/v2/models/m/infer%2f", 404, "Path not found"),
        ("POST", "/v2/models/x/%2e%2e/m/infer", 404, "Path not found"),
        ("POST", "//v2/models/m/infer", 404, "Path not found"),
        ("POST", "/v2/models/m/infer//", 404, "Path not found"),
        ("GET", "/v2/models/other", 404, "'other'"),
        ("POST", "/v2/models/other/infer", 404, "'m'"),
        ("GET", "/v2/models/m/versions/2", 404, "'2'"),
        ("POST", "/v2/models/m/versions/2/infer", 404, "'1'"),
        ("GET", "/v2/models/m/infer", 405, "POST"),
        ("POST", "/v2/models/m", 405, "GET"),
        ("DELETE", "/v2", 405, "GET"),
    ],
)
def test_unknown_path_or_method_is_rejected(
    berth: Berth, method: str, path: str, status: int, expected: str
) -> None:
    response = berth.client.request(method, path)
    assert response.status_code == status
    assert expected in response.json()["error"]
    assert ("allow" in response.headers) == (status == 405)


def test_upgrade_header_keeps_request_body(berth: Berth) -> None:
    """Java's HTTP client sends the header by default."""
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAM"}
    for _ in range(2):
        response = berth.client.post(berth.infer_path, json=REQUEST, headers=headers)
        assert response.status_code == 200
        assert response.json()["outputs"][0]["data"] == [11, 22, 33, 44]


def test_null_is_nan_in_floating_point_data(berth: Berth) -> None:
    response = berth.infer({"inputs": [{**A, "data": [1, None, 3, 4]}, B]}).json()
    assert response["outputs"][0]["data"] == [11, None, 33, 44]


@pytest.mark.parametrize("field", ["id", "parameters", "outputs"])
def test_null_field_of_request_is_absent(berth: Berth, field: str) -> None:
    assert berth.infer({**REQUEST, field: None}).json() == berth.infer(REQUEST).json()


def test_null_field_of_tensor_is_absent(berth: Berth) -> None:
    header = json.dumps(
        {
            "inputs": [
                {**A, "parameters": None},
                {**B, "data": None, "parameters": {"binary_data_size": 16}},
            ],
            "outputs": [{"name": "sum", "parameters": None}],
        }
    ).encode()
    response = berth.client.post(
        "/v2/models/m/infer",
        content=header + np.array([10, 20, 30, 40], "<f4").tobytes(),
        headers={"inference-header-content-length": str(len(header))},
    )
    assert response.json()["outputs"][0]["data"] == [11, 22, 33, 44]
