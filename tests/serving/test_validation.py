"""A request that does not fit the model gets 400 with the field, and never a 5xx."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.berth import Berth
from tests.serving.test_protocol import REQUEST, A, B


def _with(**changes: Any) -> dict[str, Any]:
    changed = {key: value for key, value in (A | changes).items() if value is not None}
    return {"inputs": [changed, B]}


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "Missing inputs: 'a', 'b'"),
        ({"inputs": [A]}, "Missing inputs: 'b'"),
        ({"inputs": [A, B, B]}, "Input 'b' occurs twice"),
        ({"inputs": [A, {**B, "name": "c"}]}, "Unknown input 'c'. The model has: a, b"),
        (_with(datatype="FP64"), "has datatype 'FP64'; the model expects FP32"),
        (_with(datatype="float"), "which the protocol does not define"),
        (_with(shape=[4]), "has shape [4]; the model expects [-1, 2]"),
        (_with(shape=[2, 3]), "has shape [2, 3]; the model expects [-1, 2]"),
        (_with(shape=[-1, 2]), "has shape [-1, 2]. No size may be negative"),
        (_with(shape=[2.5, 2]), "shape"),
        (_with(shape=[2**64, 2]), "shape"),
        (_with(data=[1, 2, 3]), "data has 3 elements; shape [2, 2] requires 4"),
        (_with(data=[[1, 2], [3]]), "neither a flat array nor nested"),
        (_with(data=[[1, 2, 3, 4]]), "nested as [1, 4]; the shape is [2, 2]"),
        (_with(data=[1, 2, 3, "4"]), "not FP32"),
        (_with(data=[1, 2, None, "4"]), "not FP32"),
        (_with(data=[1, 2, 3, 1e39]), "out of range for FP32"),
        (_with(data=[[1, 2], [3, 1e39]]), "out of range for FP32"),
        (_with(data=None), "neither data nor binary_data_size"),
        (_with(data=5), "data"),
        (_with(data={}), "data"),
        (_with(parameters={"binary_data_size": 16}), "both data and binary_data_size"),
        (_with(data=None, parameters={"binary_data_size": 16}), "0 bytes remain"),
        (_with(data=None, parameters={"binary_data_size": "16"}), "binary_data_size"),
        (REQUEST | {"outputs": [{"name": "other"}]}, "The model has: sum, same"),
        (REQUEST | {"outputs": [{"name": "sum"}] * 2}, "requested twice"),
        (
            REQUEST | {"outputs": [{"name": "sum", "parameters": {"binary_data": 1}}]},
            "binary_data must be true or false",
        ),
        (REQUEST | {"id": 5}, "id"),
        (REQUEST | {"id": "x" * 1025}, "The id has 1025 characters; the maximum is 1024"),
        (REQUEST | {"parameters": {"binary_data_output": 1}}, "must be true or false, not 1"),
        (_with(name="x" * 1000), "'… (1000 characters)"),
        (_with(shape=[1] * 1000), "(1000 dimensions)"),
        (
            REQUEST | {"outputs": [{"name": "sum", "parameters": {"classification": 3}}]},
            "unsupported parameter classification",
        ),
        (
            _with(data=None, parameters={"shared_memory_region": "r"}),
            "unsupported parameter shared_memory_region",
        ),
        (
            REQUEST | {"outputs": [{"name": "sum", "parameters": {"shared_memory_region": "r"}}]},
            "unsupported parameter shared_memory_region",
        ),
        (REQUEST | {"parameters": {"sequence_id": 7}}, "unsupported parameter sequence_id"),
    ],
)
def test_invalid_request_is_rejected_with_reason(
    berth: Berth, request_: Any, expected: str
) -> None:
    response = berth.infer(request_)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
    assert expected in response.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"inputs": [',
        b"[" * 100_000,
        b'{"inputs":[{"name":"a","datatype":"FP32","shape":[2,2],"data":' + b"[" * 50_000,
        b'{"inputs":[{"name":"a","datatype":"FP32","shape":[2,2],"data":'
        + b"[" * 2000
        + b"]" * 2000
        + b"}]}",
    ],
)
def test_malformed_body_is_rejected(berth: Berth, body: bytes) -> None:
    response = berth.infer(body)
    assert response.status_code == 400
    assert "Traceback" not in response.text


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
_input = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b"]) | _json,
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES"]) | _json,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | _json,
    },
    optional={"data": _json, "parameters": _json},
)
_fuzz = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.slow
@_fuzz
@given(
    request=st.fixed_dictionaries(
        {"inputs": st.lists(_input, max_size=3) | _json},
        optional={"outputs": _json, "id": _json, "parameters": _json},
    )
)
def test_random_json_never_causes_server_error(berth: Berth, request: Any) -> None:
    assert berth.infer(json.dumps(request).encode()).status_code in (200, 400)


@_fuzz
@given(
    body=st.binary(max_size=200), length=st.integers(-1, 300) | st.text("0123456789ax", max_size=5)
)
def test_random_bytes_never_cause_server_error(
    berth: Berth, body: bytes, length: int | str
) -> None:
    headers = {"inference-header-content-length": str(length)}
    assert berth.infer(body, headers=headers).status_code in (200, 400)


@pytest.mark.parametrize("digits", ["9" * 19, "9" * 5000])
def test_huge_header_length_is_rejected(berth: Berth, digits: str) -> None:
    response = berth.infer(REQUEST, headers={"inference-header-content-length": digits})
    assert response.status_code == 400
    assert "Inference-Header-Content-Length" in response.json()["error"]


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_integer_beyond_64_bits_is_rejected(berth: Berth, number: int) -> None:
    assert berth.infer(REQUEST | {"parameters": {"k": number}}).status_code == 400
