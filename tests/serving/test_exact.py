"""The sample models return exactly what ONNX Runtime returns, in JSON and in binary form."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from berth_protocol.model_card import read_card
from berth_serving.datatypes import DATATYPES
from tests.repository import REPOSITORY
from tests.serving.berth import Berth, run_berth

MODELS = sorted(path.parent for path in (REPOSITORY / "models").glob("*/*/model.yaml"))
ROWS = 7


def _run_in_process(model: Path, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return list(onnxruntime.InferenceSession(model / "model.onnx", options).run(None, feeds))


def _build_feeds(model: Path) -> dict[str, Any]:
    """Return several rows: the example's first row, with random factors on its numbers."""
    feeds = {}
    random = np.random.default_rng(1)
    for entry in read_card(model).example["inputs"]:
        datatype = DATATYPES[entry["datatype"]]
        example = np.array(entry["data"], datatype.numpy).reshape(entry["shape"])[:1]
        rows = np.repeat(example, ROWS, axis=0)
        if datatype.numpy.kind == "f":
            rows = (rows * random.uniform(0.5, 1.5, rows.shape)).astype(datatype.numpy)
        feeds[entry["name"]] = rows
    return feeds


def _is_equal(datatype: str, actual: Any, expected: Any) -> bool:
    if datatype == "BYTES":
        return bool(actual.tolist() == expected.tolist())
    return bool(actual.tobytes() == expected.tobytes())


@pytest.mark.parametrize("model", MODELS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_model_returns_exact_numbers(model: Path, log: Path) -> None:
    card = read_card(model)
    feeds = _build_feeds(model)
    expected = _run_in_process(model, feeds)
    tensors = [
        {"name": t.name, "datatype": t.datatype, "shape": list(feeds[t.name].shape)}
        for t in card.inputs
    ]
    with run_berth(model, log) as berth:
        berth.infer_path = f"/v2/models/{card.name}/infer"
        _check_json(berth, tensors, feeds, expected)
        if all(t.datatype != "BYTES" for t in [*card.inputs, *card.outputs]):
            _check_binary(berth, tensors, feeds, expected)


def _check_json(berth: Berth, tensors: Any, feeds: Any, expected: Any) -> None:
    inputs = [{**entry, "data": feeds[entry["name"]].ravel().tolist()} for entry in tensors]
    message = berth.infer({"inputs": inputs}).json()
    for output, array in zip(message["outputs"], expected, strict=True):
        dtype = DATATYPES[output["datatype"]].numpy
        actual = np.array(output["data"], dtype).reshape(output["shape"])
        assert _is_equal(output["datatype"], actual, array)


def _check_binary(berth: Berth, tensors: Any, feeds: Any, expected: Any) -> None:
    raw = {name: array.tobytes() for name, array in feeds.items()}
    inputs = [
        {**entry, "parameters": {"binary_data_size": len(raw[entry["name"]])}} for entry in tensors
    ]
    request = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    header = json.dumps(request).encode()
    response = berth.infer(
        header + b"".join(raw.values()),
        headers={"inference-header-content-length": str(len(header))},
    )
    offset = int(response.headers["inference-header-content-length"])
    message = json.loads(response.content[:offset])
    for output, array in zip(message["outputs"], expected, strict=True):
        size = output["parameters"]["binary_data_size"]
        assert response.content[offset : offset + size] == array.tobytes()
        offset += size
    assert offset == len(response.content)
    if len(raw) == 1:
        body = next(iter(raw.values()))
        raw_response = berth.infer(body, headers={"inference-header-content-length": "0"})
        assert raw_response.status_code == 200
        assert raw_response.content.endswith(expected[-1].tobytes())
