"""Small ONNX models of every form that `berth package` accepts, with inputs for them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Inputs = dict[str, NDArray[Any]]
SmallModel = tuple[onnx.ModelProto, Inputs]
_FLOAT = TensorProto.FLOAT


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, tuple[int, list[Any]]],
    constants: dict[str, NDArray[Any]] | None = None,
    *,
    ir_version: int = 9,
) -> onnx.ModelProto:
    """Return a model. Tensors are described by type and dimensions."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info(name, *entry) for name, entry in inputs.items()],
        [helper.make_tensor_value_info(name, *entry) for name, entry in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def _random(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def repeated_names() -> SmallModel:
    """Two inputs whose first dimensions have one name and different sizes."""
    model = build(
        [
            helper.make_node("Transpose", ["keys"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["queries", "t"], ["sims"]),
        ],
        {"queries": (_FLOAT, ["batch", 4]), "keys": (_FLOAT, ["batch", 4])},
        {"sims": (_FLOAT, [None, None])},
    )
    return model, {"queries": _random(2, 4), "keys": _random(5, 4)}


def repeated_question_mark() -> SmallModel:
    """One input whose dimensions all have the name `?`."""
    model = build(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)],
        {"x": (_FLOAT, ["?", "?", "?"])},
        {"y": (_FLOAT, ["?", "?"])},
        {"axes": np.array([1])},
    )
    return model, {"x": _random(3, 4, 5)}


def empty_cache() -> SmallModel:
    """The first step of a decoder."""
    model = build(
        [helper.make_node("Concat", ["past", "x"], ["present"], axis=1)],
        {"x": (_FLOAT, ["batch", 1, 4]), "past": (_FLOAT, ["batch", "past", 4])},
        {"present": (_FLOAT, ["batch", "total", 4])},
    )
    return model, {"x": _random(2, 1, 4), "past": np.zeros((2, 0, 4), np.float32)}


def single_value() -> SmallModel:
    """A sound with a sampling rate, which has no dimensions."""
    model = build(
        [
            helper.make_node("Cast", ["rate"], ["float"], to=_FLOAT),
            helper.make_node("Div", ["wave", "float"], ["y"]),
        ],
        {"wave": (_FLOAT, ["batch", "samples"]), "rate": (TensorProto.INT64, [])},
        {"y": (_FLOAT, ["batch", "samples"])},
    )
    return model, {"wave": _random(2, 50), "rate": np.array(16000)}


def only_single_value() -> SmallModel:
    """One input without dimensions."""
    model = build(
        [helper.make_node("Sqrt", ["x"], ["y"])], {"x": (_FLOAT, [])}, {"y": (_FLOAT, [])}
    )
    return model, {"x": np.array(4, np.float32)}


def sound() -> SmallModel:
    """A sound of free length, of which each 25 ms are one window."""
    model = build(
        [
            helper.make_node("Unsqueeze", ["wave", "axes"], ["u"]),
            helper.make_node("Conv", ["u", "w"], ["c"], strides=[160]),
            helper.make_node("ReduceMean", ["c"], ["score"], axes=[0, 2], keepdims=0),
        ],
        {"wave": (_FLOAT, ["samples"])},
        {"score": (_FLOAT, [4])},
        {"axes": np.array([0, 1]), "w": _random(4, 1, 400)},
    )
    return model, {"wave": _random(16000)}


def image() -> SmallModel:
    """One image as height x width x 3, without a batch."""
    model = build(
        [
            helper.make_node("Cast", ["image"], ["f"], to=_FLOAT),
            helper.make_node("ReduceMean", ["f"], ["mean"], axes=[0, 1], keepdims=0),
        ],
        {"image": (TensorProto.UINT8, ["height", "width", 3])},
        {"mean": (_FLOAT, [3])},
    )
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3))
    return model, {"image": pixels.astype(np.uint8)}


def large_image() -> SmallModel:
    """One fixed image of 4.9 MB."""
    model = build(
        [
            helper.make_node("Conv", ["images", "w"], ["c"], strides=[32, 32]),
            helper.make_node("Flatten", ["c"], ["output"]),
        ],
        {"images": (_FLOAT, [1, 3, 640, 640])},
        {"output": (_FLOAT, [1, 1600])},
        {"w": _random(4, 3, 32, 32)},
    )
    return model, {"images": _random(1, 3, 640, 640)}


def tokens() -> SmallModel:
    """The tokens of one text, each of which attends to all others."""
    model = build(
        [
            helper.make_node("Gather", ["table", "tokens"], ["e"]),
            helper.make_node("Softmax", ["e"], ["attention"], axis=0),
        ],
        {"tokens": (TensorProto.INT64, ["tokens"])},
        {"attention": (_FLOAT, ["tokens", 8])},
        {"table": _random(100, 8)},
    )
    return model, {"tokens": np.random.default_rng(0).integers(0, 100, 40)}


def normalized_batch() -> SmallModel:
    """Rows that are centered on the mean of all rows."""
    model = build(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        {"x": (_FLOAT, ["n", 3])},
        {"y": (_FLOAT, ["n", 3])},
    )
    return model, {"x": _random(6, 3)}


def some_rows() -> SmallModel:
    """A filter, whose number of results depends on the values."""
    model = build(
        [
            helper.make_node("Greater", ["x", "zero"], ["m"]),
            helper.make_node("Compress", ["x", "m"], ["kept"]),
        ],
        {"x": (_FLOAT, ["n"])},
        {"kept": (_FLOAT, ["k"])},
        {"zero": np.array(0, np.float32)},
    )
    return model, {"x": np.array([1, -1, 2], np.float32)}


def optional_input() -> SmallModel:
    """An input with a default."""
    model = build(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        {"x": (_FLOAT, ["n", 2]), "scale": (_FLOAT, [1])},
        {"y": (_FLOAT, ["n", 2])},
        {"scale": np.array([2], np.float32)},
    )
    return model, {"x": _random(3, 2)}


def old_ir_version() -> SmallModel:
    """Constants that are not inputs, which ONNX's checker refuses before IR version 4."""
    model = build(
        [helper.make_node("Mul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])],
        {"x": (_FLOAT, ["n", 2]), "b": (_FLOAT, [2])},
        {"y": (_FLOAT, ["n", 2])},
        {"w": np.array([2, 3], np.float32), "b": np.array([1, 1], np.float32)},
        ir_version=3,
    )
    return model, {"x": _random(3, 2)}


def wrong_declared_shape() -> SmallModel:
    """An output whose declared shape is not the computed one."""
    model = build(
        [helper.make_node("Flatten", ["x"], ["y"])],
        {"x": (_FLOAT, ["n", 2, 3])},
        {"y": (_FLOAT, ["n", 5])},
    )
    return model, {"x": _random(4, 2, 3)}


def only_missing_values() -> SmallModel:
    """Rows of which each contains NaN."""
    model = build(
        [helper.make_node("IsNaN", ["x"], ["missing"])],
        {"x": (_FLOAT, ["n", 2])},
        {"missing": (TensorProto.BOOL, ["n", 2])},
    )
    return model, {"x": np.array([[np.nan, 1], [2, np.nan], [np.nan, np.nan]], np.float32)}


def infinite_values() -> SmallModel:
    """Rows of which each contains infinity, which JSON cannot represent."""
    model = build(
        [helper.make_node("IsInf", ["x"], ["infinite"])],
        {"x": (_FLOAT, ["n", 2])},
        {"infinite": (TensorProto.BOOL, ["n", 2])},
    )
    return model, {"x": np.array([[np.inf, 1], [2, -np.inf], [np.nan, np.inf]], np.float32)}


def texts() -> SmallModel:
    """Texts that are too long for the card."""
    model = build(
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (TensorProto.STRING, ["n", 1])},
        {"y": (TensorProto.STRING, ["n", 1])},
    )
    return model, {"x": np.array([["naïve 👍" * 9000], [""]], object)}


WITHOUT_ROWS: dict[Callable[[], SmallModel], str] = {
    repeated_names: "the first dimensions of the inputs differ (queries 2, keys 5)",
    empty_cache: "the size of output 'present' can depend on all rows of a run: [-1, -1, 4]",
    single_value: "input 'rate' is a single value",
    only_single_value: "input 'x' is a single value",
    sound: "the model cannot run 65 rows",
    image: "output 'mean' has shape [3] for 49 rows",
    large_image: "the first dimension of input 'images' is fixed",
    tokens: "output 'attention' differs when rows 0 to 19 run separately",
    normalized_batch: "output 'y' differs when",
    wrong_declared_shape: "the size of output 'y' can depend on all rows of a run: [-1, -1]",
    some_rows: "output 'kept' has shape [3] for 4 rows",
}
"""Models without independent rows, with the reason."""

WITH_ROWS: tuple[Callable[[], SmallModel], ...] = (
    repeated_question_mark,
    optional_input,
    old_ir_version,
    only_missing_values,
    infinite_values,
    texts,
)
"""Models with independent rows."""
