"""Conversion of tensors between JSON or binary data and numpy, without a loop over elements."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np

from berth_protocol.errors import RequestError
from berth_serving.datatypes import Datatype

Array = np.ndarray[Any, np.dtype[Any]]


def from_json(raw: msgspec.Raw, name: str, datatype: Datatype, shape: Sequence[int]) -> Array:
    """Return the tensor in a JSON array that is flat or nested like `shape`.

    Raises:
        RequestError: 400, if an element has another type or is out of range, or if the number of
            elements is wrong. FP16 and FP32 are checked only after `np.seterr(over="raise")`.
    """
    try:
        elements = datatype.decoder.decode(raw)
    except msgspec.ValidationError as error:
        if "got `array`" not in str(error):
            raise _decoding_error(error, name, datatype, shape) from None
        return _from_nested_json(raw, name, datatype, shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _tensor_error(name, "data is not valid JSON.") from None
    count = math.prod(shape)
    if len(elements) != count:
        raise _tensor_error(
            name,
            f"data has {len(elements)} elements; shape {list(shape)} requires {count}.",
        )
    try:
        return np.array(elements, datatype.numpy).reshape(shape)
    except (OverflowError, FloatingPointError):
        raise _range_error(name, datatype) from None


def _from_nested_json(
    raw: msgspec.Raw, name: str, datatype: Datatype, shape: Sequence[int]
) -> Array:
    """Return the tensor in nested arrays, whose elements are decoded as strictly as flat ones."""
    try:
        elements = _nested_decoder(datatype.element, max(1, len(shape))).decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _decoding_error(error, name, datatype, shape) from None
    try:
        array = np.array(elements, datatype.numpy)
    except (OverflowError, FloatingPointError):
        raise _range_error(name, datatype) from None
    except ValueError:
        raise _nesting_error(name, shape) from None
    if list(array.shape) != list(shape):
        # numpy keeps text rows of different lengths as lists.
        if datatype.size == 0 and array.ndim < len(shape):
            raise _nesting_error(name, shape)
        raise _tensor_error(
            name, f"data is nested as {list(array.shape)}; the shape is {list(shape)}."
        )
    return array


@cache
def _nested_decoder(element: type, depth: int) -> msgspec.json.Decoder[list[Any]]:
    nested: Any = element
    for _ in range(depth):
        nested = list[nested]
    return msgspec.json.Decoder(nested)


def from_binary(data: memoryview, name: str, datatype: Datatype, shape: Sequence[int]) -> Array:
    """Return the tensor in the format of the binary tensor data extension.

    Raises:
        RequestError: 400, if the size does not fit the shape, or an element is invalid.
    """
    if datatype.size == 0:
        return _texts_from_binary(data, name, shape)
    expected = math.prod(shape) * datatype.size
    if len(data) != expected:
        raise _tensor_error(
            name,
            f"binary data has {len(data)} bytes; shape {list(shape)} of {datatype.name} requires"
            f" {expected}.",
        )
    if datatype.numpy.kind == "b":
        octets = np.frombuffer(data, np.uint8)
        if octets.size and int(octets.max()) > 1:
            raise _tensor_error(name, "a BOOL byte must be 0 or 1.")
    array = np.frombuffer(data, datatype.numpy).reshape(shape)
    return array if array.flags.aligned else array.copy()


def _texts_from_binary(data: memoryview, name: str, shape: Sequence[int]) -> Array:
    """Return BYTES elements: each is a length of 4 bytes, little-endian, and UTF-8 text."""
    count = math.prod(shape)
    if len(data) < 4 * count:
        raise _tensor_error(name, f"binary data ends before element {count}.")
    texts: list[str] = []
    offset = 0
    for index in range(count):
        start = offset + 4
        end = start + int.from_bytes(data[offset:start], "little")
        if start > len(data) or end > len(data):
            raise _tensor_error(name, f"binary data ends within element {index}.")
        try:
            texts.append(str(data[start:end], "utf-8"))
        except UnicodeDecodeError:
            raise _tensor_error(name, f"element {index} is not UTF-8 text.") from None
        offset = end
    if offset != len(data):
        raise _tensor_error(name, f"binary data continues after element {count - 1}.")
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
    return np.ascontiguousarray(array).ravel()


def _tensor_error(name: str, problem: str) -> RequestError:
    return RequestError(400, f"Input {name!r}: {problem}")


def _decoding_error(
    error: Exception, name: str, datatype: Datatype, shape: Sequence[int]
) -> RequestError:
    """Report an array in place of an element, or the reverse, as a wrong nesting."""
    if "`array`" in str(error) or isinstance(error, RecursionError):
        return _nesting_error(name, shape)
    return _tensor_error(name, f"data has an element that is not {datatype.name}.")


def _nesting_error(name: str, shape: Sequence[int]) -> RequestError:
    return _tensor_error(name, f"data is neither a flat array nor nested like shape {list(shape)}.")


def _range_error(name: str, datatype: Datatype) -> RequestError:
    return _tensor_error(name, f"data has an element that is out of range for {datatype.name}.")
