"""Rows at the thresholds of a model's trees, where a rounded threshold changes predictions."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray


def add_rows_at_thresholds(model: Path, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `rows` and copies with one value at a threshold, just below it, or just above it.

    "Just" means the next number in the type of the model's input.
    """
    graph = onnx.load(model).graph
    tensor_type = graph.input[0].type.tensor_type.elem_type
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor_type).type
    (trees,) = (node for node in graph.node if node.op_type == "TreeEnsembleRegressor")
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in trees.attribute}
    values = attributes.get("nodes_values")
    if values is None:
        values = onnx.numpy_helper.to_array(attributes["nodes_values_as_tensor"])
    result = [np.asarray(rows, kind)]
    for feature, mode, value in zip(
        attributes["nodes_featureids"],
        attributes["nodes_modes"],
        np.array(values, kind),
        strict=True,
    ):
        if mode != b"LEAF":
            near = np.repeat(result[0][len(result) % len(rows)][None], 3, axis=0)
            near[:, feature] = (
                value,
                np.nextafter(value, -kind(np.inf)),
                np.nextafter(value, kind(np.inf)),
            )
            result.append(near)
    return np.vstack(result).astype(np.float64)
