"""The numbers are onnxruntime's own, to the bit, in JSON and in binary, for the real models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from berth_protocol.model_card import read_card
from berth_serving.datatypes import DATATYPES
from tests.repository import REPOSITORY
from tests.serving.berth import Berth, running

MODELS = sorted(path.parent for path in (REPOSITORY / "models").glob("*/*/model.yaml"))
ROWS = 7


def _in_process(model: Path, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return list(onnxruntime.InferenceSession(model / "model.onnx", options).run(None, feeds))


def _feeds(model: Path) -> dict[str, Any]:
    """The example's first row some times over, each a little different where it is a number."""
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


def _same(datatype: str, found: Any, expected: Any) -> bool:
    if datatype == "BYTES":
        return bool(found.tolist() == expected.tolist())
    return bool(found.tobytes() == expected.tobytes())


@pytest.mark.parametrize("model", MODELS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_json_and_binary(model: Path, log: Path) -> None:
    card = read_card(model)
    feeds = _feeds(model)
    expected = _in_process(model, feeds)
    described = [
        {"name": t.name, "datatype": t.datatype, "shape": list(feeds[t.name].shape)}
        for t in card.inputs
    ]
    with running(model, log) as berth:
        berth.infer_path = f"/v2/models/{card.name}/infer"
        _check_json(berth, described, feeds, expected)
        if all(t.datatype != "BYTES" for t in [*card.inputs, *card.outputs]):
            _check_binary(berth, described, feeds, expected)


def _check_json(berth: Berth, described: Any, feeds: Any, expected: Any) -> None:
    inputs = [{**entry, "data": feeds[entry["name"]].ravel().tolist()} for entry in described]
    answer = berth.infer({"inputs": inputs}).json()
    for output, array in zip(answer["outputs"], expected, strict=True):
        dtype = DATATYPES[output["datatype"]].numpy
        found = np.array(output["data"], dtype).reshape(output["shape"])
        assert _same(output["datatype"], found, array)


def _check_binary(berth: Berth, described: Any, feeds: Any, expected: Any) -> None:
    raw = {name: array.tobytes() for name, array in feeds.items()}
    inputs = [
        {**entry, "parameters": {"binary_data_size": len(raw[entry["name"]])}}
        for entry in described
    ]
    request = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    header = json.dumps(request).encode()
    response = berth.infer(
        header + b"".join(raw.values()),
        headers={"inference-header-content-length": str(len(header))},
    )
    at = int(response.headers["inference-header-content-length"])
    answer = json.loads(response.content[:at])
    for output, array in zip(answer["outputs"], expected, strict=True):
        size = output["parameters"]["binary_data_size"]
        assert response.content[at : at + size] == array.tobytes()
        at += size
    assert at == len(response.content)
    if len(raw) == 1:
        body = next(iter(raw.values()))
        bare = berth.infer(body, headers={"inference-header-content-length": "0"})
        assert bare.status_code == 200
        assert bare.content.endswith(expected[-1].tobytes())
