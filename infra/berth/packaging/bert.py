"""Builds the network of a BERT model from its safetensors, without PyTorch and transformers.

Sentence embeddings such as MiniLM are BERT models, and PyTorch for Linux has 3 GB. The network is
the one that transformers defines in `models/bert/modeling_bert.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from berth.packaging.conversion import Conversion
from berth.packaging.errors import PackageError, first_line
from berth.packaging.pickles import reject_pickle
from berth.packaging.rows import Array
from berth.packaging.safetensors import read_safetensors

_OPSET = 17
_IR_VERSION = 8
_ARCHITECTURES = ("BertModel", "BertForSequenceClassification")
_PREFIX = "bert."
_IGNORED = ("embeddings.position_ids",)
# Settings of a network that differs from the one below.
_REQUIRED = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}
_MAX_BYTES = 2**31 - 2**20


@dataclass(frozen=True)
class _Bert:
    """The numbers of a network, and its weights by name."""

    layers: int
    heads: int
    epsilon: float
    weights: Mapping[str, Array]


def is_supported(directory: Path, config: Mapping[str, Any]) -> bool:
    """Return whether `convert` can build the network of a directory."""
    architecture = next(iter(config.get("architectures") or []), None)
    return (
        config.get("model_type") == "bert"
        and architecture in _ARCHITECTURES
        and all(config.get(key, value) == value for key, value in _REQUIRED.items())
        and (directory / "model.safetensors").is_file()
    )


def convert(directory: Path, config: Mapping[str, Any], rows: dict[str, Array]) -> Conversion:
    """Build the network in FP32 with free numbers of rows and tokens.

    Raises:
        PackageError: If a weight is missing, is not known, or has another shape or type.
    """
    path = directory / "model.safetensors"
    reject_pickle(path)
    weights = {name.removeprefix(_PREFIX): array for name, array in read_safetensors(path).items()}
    for name in _IGNORED:
        weights.pop(name, None)
    try:
        bert = _Bert(
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
            weights=weights,
        )
        content = _Network(bert).build(config)
    except (KeyError, ValueError, TypeError) as error:
        raise PackageError(
            f"{directory}: config.json or model.safetensors is not a complete BERT model "
            f"({first_line(error)}). Save it again with save_pretrained."
        ) from error
    return Conversion(
        model=content,
        rows={name: array.astype(np.int64) for name, array in rows.items()},
        framework="transformers",
        framework_version=str(config.get("transformers_version", "")),
        converter="berth",
        notes=(
            "The network was built from model.safetensors, because transformers is not installed.",
        ),
    )


class _Network:
    """The operators of the network."""

    def __init__(self, bert: _Bert) -> None:
        self._bert = bert
        self._unused = set(bert.weights)
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def build(self, config: Mapping[str, Any]) -> bytes:
        from onnx import TensorProto, helper

        size, count = int(config["hidden_size"]), int(config["vocab_size"])
        words = self._weight("embeddings.word_embeddings.weight", (count, size))
        types = self._weight("embeddings.token_type_embeddings.weight")
        position = self._weight("embeddings.position_embeddings.weight")
        shape = self._add("Shape", "input_ids")
        tokens = self._add("Gather", shape, self._constant("one_index", np.array(1)))
        places = self._add("Range", self._constant("zero", np.array(0)), tokens, "one_index")
        hidden = self._add("Gather", words, "input_ids")
        hidden = self._add("Add", hidden, self._add("Gather", types, "token_type_ids"))
        hidden = self._add("Add", hidden, self._add("Gather", position, places))
        hidden = self._normalize(hidden, "embeddings.LayerNorm")
        mask = self._add("Cast", "attention_mask", to=TensorProto.FLOAT)
        mask = self._add("Unsqueeze", mask, self._constant("heads_axes", np.array([1, 2])))
        one = self._constant("one", np.array(1, np.float32))
        lowest = self._constant("lowest", np.array(np.finfo(np.float32).min))
        mask = self._add("Mul", self._add("Sub", one, mask), lowest)
        for layer in range(self._bert.layers):
            hidden = self._add_layer(hidden, mask, f"encoder.layer.{layer}", size)
        outputs = self._add_outputs(hidden, config, size)
        if self._unused:
            raise ValueError(f"unknown weight {min(self._unused)}")
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ]
        graph = helper.make_graph(
            self._nodes, "bert", inputs, outputs, list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        if model.ByteSize() > _MAX_BYTES:
            raise ValueError("the model exceeds the 2 GiB limit of an ONNX file")
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def _add_outputs(self, hidden: str, config: Mapping[str, Any], size: int) -> list[Any]:
        from onnx import TensorProto, helper

        results: dict[str, tuple[str, list[str | int]]]
        first = self._add("Gather", hidden, "zero", axis=1)
        pooled = None
        if "pooler.dense.weight" in self._bert.weights:
            pooled = self._add("Tanh", self._linear(first, "pooler.dense"))
        if config["architectures"][0] == _ARCHITECTURES[1]:
            if pooled is None:
                raise ValueError("weight pooler.dense.weight is missing")
            labels = len(self._bert.weights["classifier.bias"])
            results = {"logits": (self._linear(pooled, "classifier"), ["rows", labels])}
        else:
            results = {"last_hidden_state": (hidden, ["rows", "tokens", size])}
            if pooled is not None:
                results["pooler_output"] = (pooled, ["rows", size])
        infos = []
        for name, (source, dims) in results.items():
            self._nodes.append(helper.make_node("Identity", [source], [name]))
            infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
        return infos

    def _add_layer(self, hidden: str, mask: str, name: str, size: int) -> str:
        heads = self._bert.heads
        split = self._constant("split", np.array([0, 0, heads, size // heads]))
        join = self._constant("join", np.array([0, 0, size]))
        query, key, value = (
            self._add(
                "Transpose",
                self._add("Reshape", self._linear(hidden, f"{name}.attention.self.{part}"), split),
                perm=[0, 2, 3, 1] if part == "key" else [0, 2, 1, 3],
            )
            for part in ("query", "key", "value")
        )
        root = self._constant("root", np.array(math.sqrt(size // heads), np.float32))
        scores = self._add("Div", self._add("MatMul", query, key), root)
        shares = self._add("Softmax", self._add("Add", scores, mask), axis=-1)
        context = self._add("Transpose", self._add("MatMul", shares, value), perm=[0, 2, 1, 3])
        context = self._linear(
            self._add("Reshape", context, join), f"{name}.attention.output.dense"
        )
        hidden = self._normalize(
            self._add("Add", context, hidden), f"{name}.attention.output.LayerNorm"
        )
        inner = self._gelu(self._linear(hidden, f"{name}.intermediate.dense"))
        inner = self._linear(inner, f"{name}.output.dense")
        return self._normalize(self._add("Add", inner, hidden), f"{name}.output.LayerNorm")

    def _gelu(self, value: str) -> str:
        half = self._constant("half", np.array(0.5, np.float32))
        root = self._constant("root_2", np.array(math.sqrt(2), np.float32))
        one = self._constant("one", np.array(1, np.float32))
        error = self._add("Add", self._add("Erf", self._add("Div", value, root)), one)
        return self._add("Mul", self._add("Mul", value, error), half)

    def _linear(self, value: str, name: str) -> str:
        weight = self._weight(f"{name}.weight", transpose=True)
        product = self._add("MatMul", value, weight)
        return self._add("Add", product, self._weight(f"{name}.bias"))

    def _normalize(self, value: str, name: str) -> str:
        weight, bias = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self._add(
            "LayerNormalization", value, weight, bias, axis=-1, epsilon=self._bert.epsilon
        )

    def _weight(
        self, name: str, shape: tuple[int, ...] | None = None, *, transpose: bool = False
    ) -> str:
        array = self._bert.weights[name]
        if shape is not None and array.shape != shape:
            raise ValueError(f"{name} has shape {list(array.shape)}, not {list(shape)}")
        self._unused.discard(name)
        return self._constant(name, (array.T if transpose else array).astype(np.float32))

    def _constant(self, name: str, array: Array) -> str:
        from onnx import numpy_helper

        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def _add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name
