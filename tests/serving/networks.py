"""Networks of the sizes that users serve: a transformer like MiniLM, and a ResNet-18.

The weights are random, because the memory and time of a run depend only on the sizes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.serving.berth import write_model


class _Graph:
    """A graph under construction. Each method returns the name of a new tensor."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._random = np.random.default_rng(0)
        self._count = 0

    def constant(self, value: Any) -> str:
        name = self._name()
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weights(self, *shape: int) -> str:
        values = self._random.standard_normal(shape, np.float32) * np.float32(0.02)
        return self.constant(values)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = self._name()
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def linear(self, x: str, columns: int, outputs: int) -> str:
        product = self.add("MatMul", x, self.weights(columns, outputs))
        return self.add("Add", product, self.weights(outputs))

    def norm(self, x: str, columns: int) -> str:
        return self.add(
            "LayerNormalization", x, self.weights(columns), self.weights(columns), axis=-1
        )

    def conv(self, x: str, channels: int, outputs: int, size: int, stride: int) -> str:
        return self.add(
            "Conv",
            x,
            self.weights(outputs, channels, size, size),
            self.weights(outputs),
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[size // 2] * 4,
        )

    def _name(self) -> str:
        self._count += 1
        return f"t{self._count}"


def write_transformer(
    directory: Path,
    *,
    layers: int = 6,
    hidden: int = 384,
    heads: int = 12,
    vocabulary: int = 30522,
    positions: int = 512,
) -> Path:
    """Write a sentence encoder. The defaults are the sizes of all-MiniLM-L6-v2: 90 MB."""
    graph = _Graph()
    add, constant = graph.add, graph.constant
    names = ("input_ids", "attention_mask", "token_type_ids")
    ids, mask, types = names
    length = add("Gather", add("Shape", ids), constant(np.int64(1)))
    position = add("Range", constant(np.int64(0)), length, constant(np.int64(1)))
    x = add("Gather", graph.weights(vocabulary, hidden), ids)
    x = add("Add", x, add("Gather", graph.weights(2, hidden), types))
    x = add("Add", x, add("Gather", graph.weights(positions, hidden), position))
    x = graph.norm(x, hidden)
    bias = add("Unsqueeze", add("Cast", mask, to=TensorProto.FLOAT), constant([1, 2]))
    bias = add("Mul", add("Sub", constant(np.float32(1)), bias), constant(np.float32(-1e9)))
    split = constant([0, 0, heads, hidden // heads])
    joined = constant([0, 0, hidden])
    scale = constant(np.float32((hidden // heads) ** 0.5))
    for _ in range(layers):
        query, key, value = (
            add("Reshape", graph.linear(x, hidden, hidden), split) for _ in range(3)
        )
        query = add("Transpose", query, perm=[0, 2, 1, 3])
        key = add("Transpose", key, perm=[0, 2, 3, 1])
        value = add("Transpose", value, perm=[0, 2, 1, 3])
        scores = add("Add", add("Div", add("MatMul", query, key), scale), bias)
        mixed = add("MatMul", add("Softmax", scores, axis=-1), value)
        mixed = add("Reshape", add("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
        x = graph.norm(add("Add", graph.linear(mixed, hidden, hidden), x), hidden)
        inner = graph.linear(x, hidden, 4 * hidden)
        error_function = add("Erf", add("Div", inner, constant(np.float32(2**0.5))))
        gelu = add("Mul", inner, add("Add", error_function, constant(np.float32(1))))
        gelu = add("Mul", gelu, constant(np.float32(0.5)))
        x = graph.norm(add("Add", graph.linear(gelu, 4 * hidden, hidden), x), hidden)
    add_output(graph, x, "last_hidden_state")
    tensor = {"datatype": "INT64", "shape": [2, 16], "data": [1] * 32}
    return write_model(
        directory,
        graph.nodes,
        [(name, "INT64", ["batch", "sequence"]) for name in names],
        [("last_hidden_state", "FP32", ["batch", "sequence", hidden])],
        {"inputs": [{"name": name, **tensor} for name in names]},
        initializers=graph.initializers,
    )


def write_cnn(directory: Path, *, widths: Sequence[int] = (64, 64, 128, 256, 512)) -> Path:
    """Write an image classifier. The defaults are the sizes of ResNet-18: 47 MB."""
    graph = _Graph()
    add = graph.add
    x = add("Relu", graph.conv("images", 3, widths[0], 7, 2))
    x = add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = widths[0]
    for stage, width in enumerate(widths[1:]):
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = add("Relu", graph.conv(x, channels, width, 3, stride))
            y = graph.conv(y, width, width, 3, 1)
            is_same = stride == 1 and channels == width
            shortcut = x if is_same else graph.conv(x, channels, width, 1, stride)
            x = add("Relu", add("Add", y, shortcut))
            channels = width
    x = add("Flatten", add("GlobalAveragePool", x))
    x = graph.linear(x, channels, 1000)
    add_output(graph, x, "logits")
    shape = [1, 3, 224, 224]
    data = [0.5] * (3 * 224 * 224)
    return write_model(
        directory,
        graph.nodes,
        [("images", "FP32", ["n", 3, 224, 224])],
        [("logits", "FP32", ["n", 1000])],
        {"inputs": [{"name": "images", "datatype": "FP32", "shape": shape, "data": data}]},
        initializers=graph.initializers,
    )


def add_output(graph: _Graph, name: str, output: str) -> None:
    """Give a tensor the name of an output."""
    graph.nodes.append(helper.make_node("Identity", [name], [output]))
