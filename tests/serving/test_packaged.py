"""Whatever `berth package` accepts, a berth serves with equal results."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from berth.operations.package import package_model
from berth_protocol.model_card import example_body
from tests import small_models
from tests.serving.berth import run_berth
from tests.small_models import SmallModel

_MODELS = [*small_models.WITHOUT_ROWS, *small_models.WITH_ROWS]


@pytest.mark.slow
@pytest.mark.parametrize("build", _MODELS)
def test_packaged_model_is_served_with_equal_results(
    build: Callable[[], SmallModel], tmp_path: Path, log: Path
) -> None:
    proto, inputs = build()
    packaged = package_model(proto, rows=inputs, name="m", version="1", into=tmp_path / "models")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # More threads sum in another order.
    session = onnxruntime.InferenceSession(packaged.path / "model.onnx", options)
    body, header_length = example_body(packaged.path, packaged.card)
    with run_berth(packaged.path, log, threads="1", batch_size="8") as berth:
        headers = (
            {} if header_length is None else {"Inference-Header-Content-Length": str(header_length)}
        )
        assert berth.infer(body, headers=headers).status_code == 200
        entries, parts = [], []
        for name, array in inputs.items():
            if array.dtype.kind == "O":
                encoded = [str(text).encode() for text in array.flat]
                part = b"".join(len(text).to_bytes(4, "little") + text for text in encoded)
            else:
                part = array.tobytes()
            (tensor,) = [tensor for tensor in packaged.card.inputs if tensor.name == name]
            entries.append(
                {
                    "name": name,
                    "shape": list(array.shape),
                    "datatype": tensor.datatype,
                    "parameters": {"binary_data_size": len(part)},
                }
            )
            parts.append(part)
        head = json.dumps({"inputs": entries, "parameters": {"binary_data_output": True}}).encode()
        response = berth.infer(
            b"".join([head, *parts]), headers={"Inference-Header-Content-Length": str(len(head))}
        )
        assert response.status_code == 200, response.text
        length = int(response.headers["Inference-Header-Content-Length"])
        outputs = json.loads(response.content[:length])["outputs"]
        offset = length
        for output, expected in zip(outputs, session.run(None, inputs), strict=True):
            assert output["shape"] == list(expected.shape)
            part = response.content[offset : (offset := offset + len_of(output))]
            if expected.dtype.kind != "O":
                assert part == np.ascontiguousarray(expected).tobytes()


def len_of(output: dict[str, dict[str, int]]) -> int:
    return output["parameters"]["binary_data_size"]
