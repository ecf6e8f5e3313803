"""Every datatype in JSON and binary form: an identity model returns what it receives."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import helper

from tests.serving.berth import run_berth, write_identity_model, write_model

CASES: dict[str, tuple[Any, list[Any]]] = {
    "BOOL": (np.bool_, [True, False, True]),
    "UINT8": (np.uint8, [0, 1, 255]),
    "UINT16": (np.uint16, [0, 1, 65535]),
    "UINT32": (np.uint32, [0, 1, 2**32 - 1]),
    "UINT64": (np.uint64, [0, 1, 2**64 - 1]),
    "INT8": (np.int8, [-128, 0, 127]),
    "INT16": (np.int16, [-(2**15), 0, 2**15 - 1]),
    "INT32": (np.int32, [-(2**31), 0, 2**31 - 1]),
    "INT64": (np.int64, [-(2**63), 0, 2**63 - 1]),
    "FP16": (np.float16, [-1.5, 0.0, 65504.0]),
    "FP32": (np.float32, [-1.5, 1e-45, 3.4028235e38]),
    "FP64": (np.float64, [-1.5, 5e-324, 1.7976931348623157e308]),
    "BYTES": (object, ["", "naïve ☃", "a\\u0000b"]),
}
OUT_OF_RANGE = {
    "UINT8": 256, "INT8": 128, "UINT16": -1, "INT16": 2**15, "UINT32": 2**32, "INT32": 2**31,
    "UINT64": -1, "INT64": 2**63, "FP16": 65520.0, "FP32": 1e39,
}  # fmt: skip


def _encoded(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        texts = [text.encode() for text in values]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return np.array(values, CASES[datatype][0]).tobytes()


def _datatypes() -> list[Any]:
    """Return each datatype as a parameter. Quick runs take one of each kind of element."""
    quick = ("BOOL", "INT64", "FP16", "BYTES")
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in CASES]


@pytest.mark.parametrize("datatype", _datatypes())
def test_datatype_round_trips_in_json_and_binary(datatype: str, tmp_path: Path, log: Path) -> None:
    values = CASES[datatype][1]
    with run_berth(write_identity_model(tmp_path / "model", datatype, ["n"], values), log) as berth:
        tensor = {"name": "x", "datatype": datatype, "shape": [3]}
        result = berth.infer({"inputs": [{**tensor, "data": values}]}).json()["outputs"][0]
        assert result == {**tensor, "name": "y", "data": result["data"]}
        dtype = CASES[datatype][0]
        assert np.array(result["data"], dtype).tobytes() == np.array(values, dtype).tobytes() or (
            result["data"] == values
        )

        raw = _encoded(datatype, values)
        header = json.dumps(
            {
                "inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}],
                "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
            }
        ).encode()
        binary = berth.infer(
            header + raw, headers={"inference-header-content-length": str(len(header))}
        )
        split = int(binary.headers["inference-header-content-length"])
        output = json.loads(binary.content[:split])["outputs"][0]
        assert output["parameters"] == {"binary_data_size": len(raw)}
        assert binary.content[split:] == raw

        if datatype in OUT_OF_RANGE:
            for data in ([0, 0, OUT_OF_RANGE[datatype]],):
                rejected = berth.infer({"inputs": [{**tensor, "data": data}]})
                assert rejected.status_code == 400
                assert datatype in rejected.json()["error"]
        if datatype.startswith(("INT", "UINT")):
            fraction = berth.infer({"inputs": [{**tensor, "data": [1, 2, 2.5]}]})
            assert fraction.status_code == 400


def test_nan_and_infinity_are_null_in_json(tmp_path: Path, log: Path) -> None:
    with run_berth(write_identity_model(tmp_path / "model", "FP32", ["n"], [1.0]), log) as berth:
        raw = np.array([np.nan, np.inf, 1.0], np.float32).tobytes()
        tensor = {"name": "x", "datatype": "FP32", "shape": [3]}
        header = json.dumps(
            {"inputs": [{**tensor, "parameters": {"binary_data_size": 12}}]}
        ).encode()
        headers = {"inference-header-content-length": str(len(header))}
        response = berth.infer(header + raw, headers=headers)
        assert response.json()["outputs"][0]["data"] == [None, None, 1.0]


def test_nested_text_is_read_like_flat_text(tmp_path: Path, log: Path) -> None:
    model = write_model(
        tmp_path / "model",
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", "BYTES", ["n", "k"])],
        [("y", "BYTES", ["n", "k"])],
        {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]}]},
    )
    with run_berth(model, log) as berth:

        def infer(data: Any, shape: list[int]) -> httpx.Response:
            tensor = {"name": "x", "datatype": "BYTES", "shape": shape, "data": data}
            return berth.infer({"inputs": [tensor]})

        ends_in_nul = [["a\0", ""], ["\0", "naïve ☃\0\0"]]
        data = infer(ends_in_nul, [2, 2]).json()["outputs"][0]["data"]
        assert data == [text for row in ends_in_nul for text in row]
        # One long text does not make its neighbors use more memory.
        assert infer([["x" * 1_000_000] + ["y"] * 50_000], [1, 50_001]).status_code == 200
        not_text: list[Any] = [[["a", 1]], [["a", None]]]
        for data in not_text:
            assert "not BYTES" in infer(data, [1, 2]).json()["error"]
        not_nested: list[Any] = [[["a"], ["b", "c"]], [["a", ["b"]]], [[["a", "b"]]], [[]]]
        for data in not_nested:
            assert infer(data, [1, 2]).status_code == 400
