"""Tensor data between the wire and numpy: JSON and binary, without a loop over elements."""

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
    """The tensor in the JSON array `raw`, flat or nested as its shape.

    Raises:
        RequestError: 400, when elements have another type, are out of range (FP16 and FP32 too,
            where `np.seterr(over="raise")` is in force) or not as many.
    """
    try:
        elements = datatype.json.decode(raw)
    except msgspec.ValidationError as error:
        if "got `array`" not in str(error):
            raise _undecoded(error, name, datatype, shape) from None
        return _nested(raw, name, datatype, shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError(400, f"input {name!r}: data is not valid JSON") from None
    count = math.prod(shape)
    if len(elements) != count:
        raise _count(name, shape, len(elements))
    try:
        return np.array(elements, datatype.numpy).reshape(shape)
    except (OverflowError, FloatingPointError):
        raise _out_of_range(name, datatype) from None


def _nested(raw: msgspec.Raw, name: str, datatype: Datatype, shape: Sequence[int]) -> Array:
    """The tensor of nested lists; decoded as strictly as a flat one, element for element."""
    try:
        elements = _nested_decoder(datatype.element, max(1, len(shape))).decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _undecoded(error, name, datatype, shape) from None
    try:
        found = np.array(elements, datatype.numpy)
    except (OverflowError, FloatingPointError):
        raise _out_of_range(name, datatype) from None
    except ValueError:
        raise _neither(name, shape) from None
    if list(found.shape) != list(shape):
        if datatype.size == 0 and found.ndim < len(shape):
            raise _neither(name, shape)  # of text, rows of different lengths stay lists
        raise RequestError(
            400, f"input {name!r}: data is nested as {list(found.shape)}, shape is {list(shape)}"
        )
    return found


@cache
def _nested_decoder(element: type, depth: int) -> msgspec.json.Decoder[list[Any]]:
    nested: Any = element
    for _ in range(depth):
        nested = list[nested]
    return msgspec.json.Decoder(nested)


def from_binary(data: memoryview, name: str, datatype: Datatype, shape: Sequence[int]) -> Array:
    """The tensor in `data`, as the binary tensor data extension lays it out.

    Raises:
        RequestError: 400, when the size is not the shape's or an element cannot be one.
    """
    if datatype.size == 0:
        return _texts(data, name, shape)
    expected = math.prod(shape) * datatype.size
    if len(data) != expected:
        raise RequestError(
            400,
            f"input {name!r}: binary data has {len(data)} bytes, "
            f"shape {list(shape)} of {datatype.name} has {expected}",
        )
    if datatype.numpy.kind == "b":
        bits = np.frombuffer(data, np.uint8)
        if bits.size and int(bits.max()) > 1:
            raise RequestError(400, f"input {name!r}: a BOOL byte must be 0 or 1")
    found = np.frombuffer(data, datatype.numpy).reshape(shape)
    return found if found.flags.aligned else found.copy()


def _texts(data: memoryview, name: str, shape: Sequence[int]) -> Array:
    """BYTES: each element is its length (4 bytes, little-endian), then its bytes (UTF-8)."""
    count = math.prod(shape)
    if len(data) < 4 * count:
        raise RequestError(400, f"input {name!r}: binary data ends before element {count}")
    texts: list[str] = []
    at = 0
    for _ in range(count):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if at + 4 > len(data) or end > len(data):
            raise RequestError(400, f"input {name!r}: binary data ends within element {len(texts)}")
        try:
            texts.append(str(data[at + 4 : end], "utf-8"))
        except UnicodeDecodeError:
            raise RequestError(
                400, f"input {name!r}: element {len(texts)} is not UTF-8 text"
            ) from None
        at = end
    if at != len(data):
        raise RequestError(400, f"input {name!r}: binary data goes on after element {count - 1}")
    return np.array(texts, object).reshape(shape)


def to_binary(array: Array, datatype: Datatype) -> bytes:
    """`array` as the binary tensor data extension lays it out."""
    if datatype.size:
        return np.ascontiguousarray(array, datatype.numpy).tobytes()
    encoded = [str(text).encode() for text in array.ravel()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)


def to_json_data(array: Array) -> Any:
    """What orjson writes as the flat array of the tensor's elements; NaN and ±inf are null."""
    if array.dtype.kind == "O":
        return array.ravel().tolist()
    return np.ascontiguousarray(array).ravel()


def _count(name: str, shape: Sequence[int], found: int) -> RequestError:
    return RequestError(
        400,
        f"input {name!r}: data has {found} elements, shape {list(shape)} has {math.prod(shape)}",
    )


def _undecoded(
    error: Exception, name: str, datatype: Datatype, shape: Sequence[int]
) -> RequestError:
    """An element where msgspec wanted an array, or the other way round, is a matter of form."""
    if "`array`" in str(error) or isinstance(error, RecursionError):
        return _neither(name, shape)
    return RequestError(400, f"input {name!r}: data has an element that is not {datatype.name}")


def _neither(name: str, shape: Sequence[int]) -> RequestError:
    return RequestError(
        400, f"input {name!r}: data is neither a flat array nor nested as shape {list(shape)}"
    )


def _out_of_range(name: str, datatype: Datatype) -> RequestError:
    return RequestError(400, f"input {name!r}: data has an element beyond {datatype.name}")
