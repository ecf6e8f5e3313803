"""The model card's example: an Open Inference Protocol request made of real rows."""

import math
from typing import Any

import numpy as np

from berth.packaging.errors import PackageError
from berth.packaging.rows import Array
from berth_protocol.model_card import Tensor

ROWS = 2


def example_feeds(inputs: list[Tensor], feeds: dict[str, Array]) -> dict[str, Array]:
    """A few rows of `feeds` that JSON can carry: the first two, or all where the size is fixed.

    Raises:
        PackageError: too few rows without NaN and infinity, which JSON does not have.
    """
    batched = all(tensor.shape and tensor.shape[0] == -1 for tensor in inputs)
    lengths = {len(array) for array in feeds.values() if array.ndim}
    if not batched or len(lengths) != 1:
        if all(np.all(_finite(array)) for array in feeds.values()):
            return feeds
        raise PackageError("rows hold NaN or infinity, which the example request cannot carry")
    usable = np.all(
        [_finite(array).reshape(len(array), -1).all(axis=1) for array in feeds.values()], axis=0
    )
    chosen = np.flatnonzero(usable)[:ROWS]
    if not len(chosen):
        raise PackageError(
            "every row holds NaN or infinity, which the example request cannot carry; "
            "give at least one row without"
        )
    return {name: array[chosen] for name, array in feeds.items()}


def request(inputs: list[Tensor], feeds: dict[str, Array]) -> dict[str, Any]:
    """`feeds` as the body of an inference request, data flat in row-major order."""
    return {
        "inputs": [
            {
                "name": tensor.name,
                "shape": list(feeds[tensor.name].shape),
                "datatype": tensor.datatype,
                "data": [_plain(value) for value in feeds[tensor.name].flat],
            }
            for tensor in inputs
        ]
    }


def _finite(array: Array) -> Array:
    return np.isfinite(array) if array.dtype.kind == "f" else np.ones(array.shape, dtype=bool)


def _plain(value: Any) -> Any:
    """The shortest Python number that stands for exactly this value."""
    if isinstance(value, np.floating) and math.isfinite(value):
        return float(str(value))
    return value.item() if isinstance(value, np.generic) else value
