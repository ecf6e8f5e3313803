"""Models whose first dimension is rows, and models for which it is something else."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from berth_protocol.model_card import file_sha256
from tests.serving.berth import Berth, run_berth, write_model

_BATCHING = {"threads": "1", "batch_size": "64", "loop_threshold_ms": "0"}


def _tensor(name: str, array: Any, datatype: str = "FP32") -> dict[str, Any]:
    values = np.asarray(array)
    shape = list(values.shape)
    return {"name": name, "datatype": datatype, "shape": shape, "data": values.ravel().tolist()}


def _set_card(model: Path, **changes: Any) -> Path:
    card = yaml.safe_load((model / "model.yaml").read_text())
    (model / "model.yaml").write_text(yaml.safe_dump(card | changes))
    return model


def _write_mixing_model(directory: Path, operator: str) -> Path:
    """Write a model whose rows depend on each other, after enough work to keep a thread busy."""
    nodes = [helper.make_node("MatMul", ["x" if i == 0 else f"t{i}", "eye"], [f"t{i + 1}"])
             for i in range(30)]  # fmt: skip
    if operator == "normalize":
        nodes += [
            helper.make_node("ReduceMean", ["t30"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["t30", "mean"], ["y"]),
        ]
    else:
        nodes.append(helper.make_node("Softmax", ["t30"], ["y"], axis=0))
    data = np.linspace(-1, 1, 4 * 128).reshape(4, 128)
    return write_model(
        directory,
        nodes,
        [("x", "FP32", ["n", 128])],
        [("y", "FP32", ["n", 128])],
        {"inputs": [_tensor("x", data)]},
        initializers=[numpy_helper.from_array(np.eye(128, dtype=np.float32), "eye")],
    )


@pytest.mark.parametrize("operator", ["normalize", "softmax"])
@pytest.mark.parametrize("card", [{}, {"has_rows": True}, {"has_rows": False}])
def test_rows_of_several_clients_are_never_mixed(
    operator: str, card: dict[str, Any], tmp_path: Path, log: Path
) -> None:
    model = _set_card(_write_mixing_model(tmp_path / "model", operator), **card)
    random = np.random.default_rng(0)
    requests = [random.normal(size=(random.integers(1, 9), 128)) for _ in range(60)]
    session = onnxruntime.InferenceSession(model / "model.onnx")
    with run_berth(model, log, **_BATCHING) as berth, ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda x: berth.infer({"inputs": [_tensor("x", x)]}), requests))
        for x, response in zip(requests, responses, strict=True):
            output = response.json()["outputs"][0]
            (expected,) = session.run(None, {"x": x.astype(np.float32)})
            np.testing.assert_allclose(
                np.reshape(output["data"], output["shape"]), expected, rtol=1e-4, atol=1e-6
            )
        assert berth.metric("berth_batch_rows_count") == 60
        (warning,) = [line for line in berth.read_log() if line["level"] == "warning"]
    assert "Batching is disabled, although BERTH_BATCH_SIZE is 64" in str(warning)
    if not card.get("has_rows", True):
        assert "the model card says" in str(warning)
    else:
        assert "output 'y' differs when" in str(warning)


def test_limit_of_rows_applies_only_to_model_with_rows(tmp_path: Path, log: Path) -> None:
    def infer(model: Path, log_file: Path) -> Any:
        with run_berth(model, log_file, max_batch="3") as berth:
            return berth.infer({"inputs": [_tensor("x", np.zeros((5, 128)))]})

    model = _set_card(_write_mixing_model(tmp_path / "rows", "softmax"), has_rows=True)
    response = infer(model, log)
    assert response.status_code == 413
    assert "5 rows; the maximum is 3" in response.json()["error"]
    model = _set_card(model, has_rows=False, no_rows_reason="it is a sound")
    assert infer(model, tmp_path / "second.log").status_code == 200


def test_free_dimensions_with_same_name_can_differ(tmp_path: Path, log: Path) -> None:
    """ONNX Runtime does not compare dimensions by name, and exporters reuse names."""
    random = np.random.default_rng(0)
    queries, keys = random.normal(size=(2, 4)), random.normal(size=(5, 4))
    model = write_model(
        tmp_path / "model",
        [
            helper.make_node("Transpose", ["keys"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["queries", "t"], ["sims"]),
        ],
        [("queries", "FP32", ["batch", 4]), ("keys", "FP32", ["batch", 4])],
        [("sims", "FP32", [None, None])],
        {"inputs": [_tensor("queries", queries), _tensor("keys", keys)]},
    )
    with run_berth(model, log, **_BATCHING) as berth:
        for count in (5, 2, 7):
            other = random.normal(size=(count, 4))
            response = berth.infer(
                {"inputs": [_tensor("queries", queries), _tensor("keys", other)]}
            )
            output = response.json()["outputs"][0]
            assert output["shape"] == [2, count]
            expected = queries @ other.T
            np.testing.assert_allclose(np.reshape(output["data"], (2, count)), expected, rtol=1e-5)


def test_empty_and_single_value_inputs_are_served(tmp_path: Path, log: Path) -> None:
    """A decoder's first step has an empty cache, and a sampling rate has no dimensions."""
    x = np.arange(8, dtype=np.float32).reshape(2, 1, 4)
    inputs = [_tensor("x", x), _tensor("past", np.zeros((2, 0, 4))), _tensor("rate", 3.0)]
    model = write_model(
        tmp_path / "model",
        [
            helper.make_node("Concat", ["past", "x"], ["joined"], axis=1),
            helper.make_node("Mul", ["joined", "rate"], ["present"]),
        ],
        [
            ("x", "FP32", ["batch", 1, 4]),
            ("past", "FP32", ["batch", "past_len", 4]),
            ("rate", "FP32", []),
        ],
        [("present", "FP32", ["batch", "total_len", 4])],
        {"inputs": inputs},
    )
    with run_berth(model, log, **_BATCHING) as berth:
        output = berth.infer({"inputs": inputs}).json()["outputs"][0]
        assert output["shape"] == [2, 1, 4]
        assert output["data"] == (x * 3).ravel().tolist()


@pytest.fixture(scope="module")
def optional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write y = x * scale + shift, with defaults for scale (2) and shift (0)."""
    model = write_model(
        tmp_path_factory.mktemp("optional"),
        [
            helper.make_node("Mul", ["x", "scale"], ["m"]),
            helper.make_node("Add", ["m", "shift"], ["y"]),
        ],
        [("x", "FP32", ["n", 2]), ("scale", "FP32", [1]), ("shift", "FP32", [1])],
        [("y", "FP32", ["n", 2])],
        {"inputs": [_tensor("x", [[1, 2]])]},
        initializers=[
            helper.make_tensor("scale", TensorProto.FLOAT, [1], [2.0]),
            helper.make_tensor("shift", TensorProto.FLOAT, [1], [0.0]),
        ],
    )  # fmt: skip
    card = yaml.safe_load((model / "model.yaml").read_text())
    card["inputs"] = [
        entry | ({"optional": True} if entry["name"] == "scale" else {})
        for entry in card["inputs"]
        if entry["name"] != "shift"  # Not every default is an input: weights can have this form.
    ]
    return _set_card(model, inputs=card["inputs"])


def _infer_optional(berth: Berth, *inputs: dict[str, Any]) -> Any:
    body = berth.infer({"inputs": list(inputs)}).json()
    return body["outputs"][0]["data"] if "outputs" in body else body["error"]


def test_optional_input_can_be_sent_or_omitted(optional: Path, log: Path) -> None:
    x = _tensor("x", [[1, 2]])
    with run_berth(optional, log) as berth:
        assert _infer_optional(berth, x) == [2, 4]
        assert _infer_optional(berth, x, _tensor("scale", [5])) == [5, 10]
        assert "Missing inputs: 'x'" in _infer_optional(berth, _tensor("scale", [5]))
        assert "has shape [2]" in _infer_optional(berth, x, _tensor("scale", [5, 5]))
        assert "Unknown input 'shift'" in _infer_optional(berth, x, _tensor("shift", [5]))
        raw = np.array([[3, 4]], np.float32).tobytes()
        response = berth.infer(raw, headers={"Inference-Header-Content-Length": "0"})
        assert response.status_code == 200
        names = [entry["name"] for entry in berth.client.get("/v2/models/m").json()["inputs"]]
        assert names == ["x", "scale"]


def test_optional_inputs_of_several_clients_are_never_mixed(optional: Path, log: Path) -> None:
    with run_berth(optional, log, **_BATCHING) as berth, ThreadPoolExecutor(16) as pool:

        def infer(scale: int) -> Any:
            sent = [_tensor("scale", [scale])] if scale != 2 else []
            return _infer_optional(berth, _tensor("x", [[1, 2]]), *sent)

        scales = [index % 5 for index in range(100)]
        assert list(pool.map(infer, scales)) == [[scale, 2 * scale] for scale in scales]


def test_example_in_file_warms_up_model(tmp_path: Path, log: Path) -> None:
    model = _write_mixing_model(tmp_path / "model", "softmax")
    data = np.ones((3, 128), np.float32)
    header = {"name": "x", "datatype": "FP32", "shape": [3, 128],
              "parameters": {"binary_data_size": data.nbytes}}  # fmt: skip
    (model / "example.bin").write_bytes(json.dumps({"inputs": [header]}).encode() + data.tobytes())
    card = msgspec.yaml.decode((model / "model.yaml").read_bytes())
    files = card["files"] | {"example.bin": file_sha256(model / "example.bin")}
    _set_card(model, files=files, example={"inputs": [header]}, example_file="example.bin")
    with run_berth(model, log, max_body_bytes="1024") as berth:
        assert berth.metric("berth_batch_rows_count") == 0
