"""Conversion of tensors from and to binary data, and to JSON."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from berth_protocol.errors import RequestError
from berth_serving.datatypes import Datatype
from berth_serving.text import describe_shape

_PIECE_ELEMENTS = 64 << 10

Array = np.ndarray[Any, np.dtype[Any]]


def from_binary(data: memoryview, name: str, datatype: Datatype, shape: Sequence[int]) -> Array:
    """Return the tensor in the format of the binary tensor data extension.

    Raises:
        RequestError: 400, if the size does not fit the shape, or an element is invalid.
    """
    if datatype.size == 0:
        return _texts_from_binary(data, name, shape)
    expected = math.prod(shape) * datatype.size
    if len(data) != expected:
        raise tensor_error(
            name,
            f"binary data has {len(data)} bytes; shape {describe_shape(shape)} of {datatype.name}"
            f" requires {expected}.",
        )
    if datatype.numpy.kind == "b":
        octets = np.frombuffer(data, np.uint8)
        if octets.size and int(octets.max()) > 1:
            raise tensor_error(name, "a BOOL byte must be 0 or 1.")
    array = np.frombuffer(data, datatype.numpy).reshape(shape)
    return array if array.flags.aligned else array.copy()


def _texts_from_binary(data: memoryview, name: str, shape: Sequence[int]) -> Array:
    """Return BYTES elements: each is a length of 4 bytes, little-endian, and UTF-8 text."""
    count = math.prod(shape)
    if len(data) < 4 * count:
        raise tensor_error(name, f"binary data ends before element {count}.")
    texts: list[str] = []
    offset = 0
    for index in range(count):
        start = offset + 4
        end = start + int.from_bytes(data[offset:start], "little")
        if start > len(data) or end > len(data):
            raise tensor_error(name, f"binary data ends within element {index}.")
        try:
            texts.append(str(data[start:end], "utf-8"))
        except UnicodeDecodeError:
            raise tensor_error(name, f"element {index} is not UTF-8 text.") from None
        offset = end
    if offset != len(data):
        raise tensor_error(name, f"binary data continues after element {count - 1}.")
    return np.array(texts, object).reshape(shape)


def to_binary(array: Array, datatype: Datatype) -> bytes:
    """Return the array in the format of the binary tensor data extension."""
    if datatype.size:
        return np.ascontiguousarray(array, datatype.numpy).tobytes()
    encoded = [str(text).encode() for text in array.ravel()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)


def to_json(array: Array) -> Any:
    """Return data that orjson writes as a flat array. NaN and infinities become null."""
    if array.dtype.kind == "O":
        return array.ravel().tolist()
    flat = np.ascontiguousarray(array).ravel()
    if flat.size <= _PIECE_ELEMENTS:
        return flat
    # orjson lets no other thread run during a call, so a long array takes several calls.
    pieces = (
        orjson.dumps(flat[start : start + _PIECE_ELEMENTS], option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        for start in range(0, flat.size, _PIECE_ELEMENTS)
    )
    return orjson.Fragment(b"[" + b",".join(pieces) + b"]")


def tensor_error(name: str, problem: str) -> RequestError:
    """Return a 400 error about the data of an input."""
    return RequestError(400, f"Input {name!r}: {problem}")
