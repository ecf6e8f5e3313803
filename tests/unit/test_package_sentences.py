"""The modules of sentence-transformers after the pooling: results of NumPy, and refusals."""

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from berth.packaging.errors import PackageError
from berth.packaging.text.graph import GraphBuilder
from berth.packaging.text.sentences import (
    add_sentence_modules,
    compute_embeddings,
    read_sentence_modules,
)
from tests.text_folder import SIZE, define_pooling, write_safetensors

PACKAGE = "sentence_transformers.models"
NORMALIZE = "Normalize"


STATES = np.random.default_rng(0).normal(size=(3, 6, SIZE)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]])


def _write(directory: Path, steps: list[Any], **changes: Any) -> Path:
    """Write a directory with mean pooling and the modules `steps`: settings of Dense, or a name."""
    files = define_pooling("mean_tokens", normalize=False)
    weights: dict[str, Any] = {}
    for place, step in enumerate(steps, 2):
        is_dense = isinstance(step, dict)
        path = f"{place}_{'Dense' if is_dense else step}"
        kind = f"{PACKAGE}.{'Dense' if is_dense else step}"
        files["modules"].append({"idx": place, "name": str(place), "path": path, "type": kind})
        if is_dense:
            files[f"{path}__config"] = step
            weights[path] = _make_weights(step)
    for name, content in (files | changes).items():
        file = directory / f"{name.replace('__', '/')}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    for path, tensors in weights.items():
        write_safetensors(directory / path / "model.safetensors", tensors)
    return directory


def _define_dense(inputs: int, outputs: int, activation: str, **more: Any) -> dict[str, Any]:
    return {
        "in_features": inputs,
        "out_features": outputs,
        "bias": True,
        "activation_function": f"torch.nn.modules.activation.{activation}",
    } | more


def _make_weights(settings: dict[str, Any]) -> dict[str, Any]:
    source = np.random.default_rng(settings["out_features"])
    shape = (settings["out_features"], settings["in_features"])
    weights = {"linear.weight": source.normal(size=shape).astype(np.float32)}
    if settings["bias"]:
        weights["linear.bias"] = source.normal(size=shape[:1]).astype(np.float32)
    if settings.get("use_residual") and shape[0] != shape[1]:
        weights["residual.weight"] = source.normal(size=shape).astype(np.float32)
    return weights


def _run(directory: Path) -> Any:
    """Run the modules of a directory on STATES."""
    modules = read_sentence_modules(directory)
    assert modules is not None
    graph = GraphBuilder(17)
    result = graph.add("Identity", add_sentence_modules(graph, "states", "mask", modules))
    built = helper.make_graph(
        graph.nodes,
        "modules",
        [
            helper.make_tensor_value_info("states", TensorProto.FLOAT, ["rows", "tokens", SIZE]),
            helper.make_tensor_value_info("mask", TensorProto.INT64, ["rows", "tokens"]),
        ],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        graph.constants,
    )
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (embeddings,) = session.run(None, {"states": STATES, "mask": MASK})
    np.testing.assert_allclose(embeddings, compute_embeddings(STATES, MASK, modules), atol=1e-5)
    return embeddings


ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "Tanh": math.tanh,
    "Identity": lambda x: x,
    "ReLU": lambda x: max(x, 0.0),
    "Sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "SiLU": lambda x: x / (1 + math.exp(-x)),
    "GELU": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
}


def _compute(pooled: Any, steps: list[Any]) -> Any:
    for step in steps:
        if step == NORMALIZE:
            pooled = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
            continue
        weights = _make_weights(step)
        linear = pooled @ weights["linear.weight"].T.astype(float) + weights.get("linear.bias", 0)
        name = step["activation_function"].rpartition(".")[2]
        added = pooled @ weights["residual.weight"].T if "residual.weight" in weights else pooled
        result = np.vectorize(ACTIVATIONS[name])(linear)
        pooled = result + added if step.get("use_residual") else result
    return pooled


@pytest.mark.parametrize(
    "steps",
    [
        *([_define_dense(SIZE, 5, name)] for name in ACTIVATIONS),
        [_define_dense(SIZE, 5, "Tanh", bias=False), NORMALIZE],
        [NORMALIZE, _define_dense(SIZE, SIZE, "Identity", use_residual=True)],
        [_define_dense(SIZE, 12, "ReLU", use_residual=True), _define_dense(12, 3, "Tanh")],
    ],
)
def test_embedding_equals_that_of_all_modules(steps: list[Any], tmp_path: Path) -> None:
    pooled = [states[kept > 0].mean(0) for states, kept in zip(STATES, MASK, strict=True)]

    result = _run(_write(tmp_path, steps))

    np.testing.assert_allclose(result, _compute(np.array(pooled, float), steps), atol=1e-5)


def test_pooling_modes_in_a_list_are_joined_in_its_order(tmp_path: Path) -> None:
    """sentence-transformers 5.4 and later write `pooling_mode`."""
    both = {"1_Pooling__config": {"pooling_mode": ["weightedmean", "cls"]}}

    result = _run(_write(tmp_path, [], **both))

    for row, states, kept in zip(result, STATES, MASK, strict=True):
        weights = range(1, kept.sum() + 1)
        mean = np.average(states[kept > 0], axis=0, weights=weights)
        np.testing.assert_allclose(row, [*mean, *states[0]], atol=1e-6)


DENSE = _define_dense(SIZE, 5, "Tanh")


@pytest.mark.parametrize(
    ("steps", "changes", "message"),
    [
        (["LSTM"], {}, "modules Transformer, Pooling, LSTM are not supported"),
        ([DENSE | {"activation_function": "mine.Tanh"}], {}, "activation_function: mine.Tanh"),
        ([_define_dense(SIZE, 5, "Hardswish")], {}, "Supported classes of torch.nn: GELU"),
        ([DENSE | {"module_input_name": "token_embeddings"}], {}, "module_input_name: token_emb"),
        ([NORMALIZE], {"2_Normalize__config": {"module_output_name": "x"}}, "module_output_name"),
        ([DENSE], {"2_Dense__config": DENSE | {"out_features": 6}}, "describes .*6"),
        ([], {"sentence_bert_config": {"modality_config": {
            "text": {"method_output_name": "pooler_output"}}}}, "pooler_output is not supported"),
    ],
)  # fmt: skip
def test_module_that_is_not_supported_is_refused_with_reason(
    steps: list[Any], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    directory = _write(tmp_path / "hf", steps, **changes)

    with pytest.raises(PackageError, match=message):
        read_sentence_modules(directory)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_dense_weights_in_a_pickle_are_refused(name: str, tmp_path: Path) -> None:
    directory = _write(tmp_path / "hf", [DENSE])
    (directory / "2_Dense" / "model.safetensors").unlink()
    (directory / "2_Dense" / name).write_bytes(pickle.dumps({"linear.weight": [1.0] * 9}))

    with pytest.raises(PackageError, match="pickle"):
        read_sentence_modules(directory)


def test_file_of_modules_that_is_damaged_is_refused(tmp_path: Path) -> None:
    directory = _write(tmp_path / "hf", [])
    (directory / "modules.json").write_text(json.dumps([{"type": "a.Transformer"}]))

    with pytest.raises(PackageError, match="not a list of modules"):
        read_sentence_modules(directory)
