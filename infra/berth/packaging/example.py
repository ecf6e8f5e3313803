"""Builds the model card's example: an Open Inference Protocol request with real values."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from berth.packaging.rows import Array
from berth_protocol.model_card import Tensor

ROWS = 2

# A card is for readers, and `berth up` prints its example. Larger examples are in a file.
_MAX_CARD_BYTES = 4 * 1024
# The default of `max_body_bytes` is 10 MiB, which two images can exceed.
_MAX_BYTES_OF_SEVERAL_ROWS = 1024 * 1024


@dataclass(frozen=True)
class Example:
    """An example request.

    Attributes:
        request: The request. If `body` is not None, without its data.
        body: The request as an HTTP body with binary tensor data, if it is too large for the card
            or contains NaN or infinity, which JSON does not have.
    """

    request: dict[str, Any]
    body: bytes | None


def select_example_rows(feeds: dict[str, Array]) -> dict[str, Array]:
    """Select the first rows of `feeds`, which have equal numbers of rows, for the example.

    Rows without NaN and infinity are preferred, then rows without infinity.
    """
    count = len(next(iter(feeds.values())))
    is_bad = np.zeros((2, count), bool)  # By infinity, and by NaN.
    for array in feeds.values():
        if array.dtype.kind == "f":
            flat = array.reshape(count, -1)
            is_bad |= [np.isinf(flat).any(axis=1), np.isnan(flat).any(axis=1)]
    best_first = np.lexsort([np.arange(count), is_bad[1], is_bad[0]])[:ROWS]
    kinds = is_bad[:, best_first]
    selected = best_first[np.all(kinds == kinds[:, :1], axis=0)]  # Of the same kind as the first.
    if sum(array[selected].nbytes for array in feeds.values()) > _MAX_BYTES_OF_SEVERAL_ROWS:
        selected = selected[:1]
    return {name: array[selected] for name, array in feeds.items()}


def build_example(inputs: list[Tensor], feeds: dict[str, Array]) -> Example:
    """Build the inference request for `feeds`, with flat data in row-major order."""
    sent = [(tensor, feeds[tensor.name]) for tensor in inputs if tensor.name in feeds]
    if _is_small(feeds):
        request = {
            "inputs": [
                _describe(tensor, array) | {"data": [_to_json(value) for value in array.flat]}
                for tensor, array in sent
            ]
        }
        if len(json.dumps(request)) <= _MAX_CARD_BYTES:
            return Example(request, None)
    parts = [_to_binary(array) for _, array in sent]
    request = {
        "inputs": [
            _describe(tensor, array) | {"parameters": {"binary_data_size": len(part)}}
            for (tensor, array), part in zip(sent, parts, strict=True)
        ]
    }
    return Example(request, b"".join([json.dumps(request).encode(), *parts]))


def _is_small(feeds: dict[str, Array]) -> bool:
    """Return whether JSON can represent `feeds` and may be short enough for the card."""
    return all(
        # A number has at least one digit and a separator.
        2 * array.size <= _MAX_CARD_BYTES
        and (array.dtype.kind != "f" or bool(np.isfinite(array).all()))
        for array in feeds.values()
    )


def _describe(tensor: Tensor, array: Array) -> dict[str, Any]:
    return {"name": tensor.name, "shape": list(array.shape), "datatype": tensor.datatype}


def _to_json(value: Any) -> Any:
    """Return the shortest Python number that represents exactly this value."""
    if isinstance(value, np.floating):
        return float(str(value))
    return value.item() if isinstance(value, np.generic) else value


def _to_binary(array: Array) -> bytes:
    """Return `array` in the format of the binary tensor data extension."""
    if array.dtype.kind == "O":
        return b"".join(_texts_to_binary(array))
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def _texts_to_binary(array: Array) -> Iterator[bytes]:
    for text in array.flat:
        encoded = str(text).encode()
        yield len(encoded).to_bytes(4, "little")
        yield encoded
