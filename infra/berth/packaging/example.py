"""Builds the model card's example: an Open Inference Protocol request with real rows."""

import math
from typing import Any

import numpy as np

from berth.packaging.errors import PackageError
from berth.packaging.rows import Array
from berth_protocol.model_card import Tensor

ROWS = 2


def select_example_rows(inputs: list[Tensor], feeds: dict[str, Array]) -> dict[str, Array]:
    """Select the first two rows of `feeds` that JSON can represent.

    If the number of rows is fixed, select all rows.

    Raises:
        PackageError: If there are too few rows without NaN and infinity, which JSON does not have.
    """
    is_batched = all(tensor.shape and tensor.shape[0] == -1 for tensor in inputs)
    lengths = {len(array) for array in feeds.values() if array.ndim}
    if not is_batched or len(lengths) != 1:
        if all(np.all(_finite(array)) for array in feeds.values()):
            return feeds
        raise PackageError(
            "The rows contain NaN or infinity, which the example request cannot represent. Use "
            "rows with finite numbers."
        )
    usable = np.all(
        [_finite(array).reshape(len(array), -1).all(axis=1) for array in feeds.values()], axis=0
    )
    selected = np.flatnonzero(usable)[:ROWS]
    if not len(selected):
        raise PackageError(
            "Every row contains NaN or infinity, which the example request cannot represent. Add "
            "at least one row with finite numbers."
        )
    return {name: array[selected] for name, array in feeds.items()}


def build_request(inputs: list[Tensor], feeds: dict[str, Array]) -> dict[str, Any]:
    """Build the body of an inference request, with flat data in row-major order."""
    return {
        "inputs": [
            {
                "name": tensor.name,
                "shape": list(feeds[tensor.name].shape),
                "datatype": tensor.datatype,
                "data": [_to_json(value) for value in feeds[tensor.name].flat],
            }
            for tensor in inputs
        ]
    }


def _finite(array: Array) -> Array:
    return np.isfinite(array) if array.dtype.kind == "f" else np.ones(array.shape, dtype=bool)


def _to_json(value: Any) -> Any:
    """Return the shortest Python number that represents exactly this value."""
    if isinstance(value, np.floating) and math.isfinite(value):
        return float(str(value))
    return value.item() if isinstance(value, np.generic) else value
