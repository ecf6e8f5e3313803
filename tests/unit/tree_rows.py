"""Rows that lie at the thresholds of a model's trees, where a rounded one would show."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray


def at_thresholds(model: Path, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """`rows`, then copies of them with one value put to a threshold, just below or just above.

    Just: to the next number of the type that the model's input has.
    """
    graph = onnx.load(model).graph
    tensor_type = graph.input[0].type.tensor_type.elem_type
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor_type).type
    (trees,) = (node for node in graph.node if node.op_type == "TreeEnsembleRegressor")
    given = {a.name: onnx.helper.get_attribute_value(a) for a in trees.attribute}
    values = given.get("nodes_values")
    if values is None:
        values = onnx.numpy_helper.to_array(given["nodes_values_as_tensor"])
    made = [np.asarray(rows, kind)]
    for feature, mode, value in zip(
        given["nodes_featureids"], given["nodes_modes"], np.array(values, kind), strict=True
    ):
        if mode != b"LEAF":
            near = np.repeat(made[0][len(made) % len(rows)][None], 3, axis=0)
            near[:, feature] = (
                value,
                np.nextafter(value, -kind(np.inf)),
                np.nextafter(value, kind(np.inf)),
            )
            made.append(near)
    return np.vstack(made).astype(np.float64)
