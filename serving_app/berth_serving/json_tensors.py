"""Decoding the `data` of a JSON input, with memory that is in proportion to the text.

A number of two characters, such as `1,`, is a Python object of 32 bytes, and an empty array in an
array one of 64 bytes. A long text is therefore first compared with the shape, by its brackets,
commas and quotes, and then decoded in pieces, each of which becomes part of the tensor.
"""

import math
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np

from berth_protocol.errors import RequestError
from berth_serving.datatypes import Datatype
from berth_serving.tensors import Array, tensor_error
from berth_serving.text import describe_shape

_PIECE_BYTES = 64 << 10
_PIECE_STRINGS = 4096
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_STRINGS = re.compile(rb'(?:[^"]*+%s){1,%d}+' % (_STRING, _PIECE_STRINGS), re.DOTALL)
_EACH_STRING = re.compile(_STRING, re.DOTALL)
_STRUCTURE = b"[],"
_WHITESPACE = b" \t\r\n"
_NOT_STRUCTURE = bytes(set(range(256)) - set(_STRUCTURE))


def from_json(raw: msgspec.Raw, name: str, datatype: Datatype, shape: Sequence[int]) -> Array:
    """Return the tensor in a JSON array that is flat or nested like `shape`.

    A `null` in floating-point data is NaN, as in responses.

    Raises:
        RequestError: 400, if an element has another type or is out of range, or if the number of
            elements is wrong. FP16 and FP32 are checked only after `np.seterr(over="raise")`.
    """
    text = bytes(raw)
    try:
        if len(text) > _PIECE_BYTES:
            # numpy's error mode belongs to one thread, and this can be another one.
            with np.errstate(over="raise"):
                if datatype.size:
                    return _decode_numbers(text, name, datatype, shape)
                return _decode_texts(text, name, datatype, shape)
        return _decode_short(text, name, datatype, shape)
    except (OverflowError, FloatingPointError):
        raise tensor_error(
            name, f"data has an element that is out of range for {datatype.name}."
        ) from None


def _decode_short(text: bytes, name: str, datatype: Datatype, shape: Sequence[int]) -> Array:
    try:
        elements = _decode_elements(text, datatype)
    except msgspec.ValidationError as error:
        if "got `array`" not in str(error):
            raise _decoding_error(error, name, datatype, shape) from None
        return _decode_nested(text, name, datatype, shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise tensor_error(name, "data is not valid JSON.") from None
    _check_count(len(elements), name, shape)
    return np.array(elements, datatype.numpy).reshape(shape)


def _decode_elements(text: bytes, datatype: Datatype) -> list[Any]:
    """Return the elements of a flat array."""
    try:
        return datatype.decoder.decode(text)
    except msgspec.ValidationError as error:
        if datatype.element is float and "got `null`" in str(error):
            return _nested_decoder(float | None, 1).decode(text)
        raise


def _decode_nested(text: bytes, name: str, datatype: Datatype, shape: Sequence[int]) -> Array:
    """Return the tensor in nested arrays, whose elements are decoded as strictly as flat ones."""
    element: Any = float | None if datatype.element is float else datatype.element
    try:
        elements = _nested_decoder(element, max(1, len(shape))).decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _decoding_error(error, name, datatype, shape) from None
    try:
        array = np.array(elements, datatype.numpy)
    except (ValueError, TypeError):
        raise _nesting_error(name, shape) from None
    if list(array.shape) != list(shape):
        # numpy keeps text rows of different lengths as lists.
        if datatype.size == 0 and array.ndim < len(shape):
            raise _nesting_error(name, shape)
        raise tensor_error(
            name,
            f"data is nested as {describe_shape(array.shape)}; the shape is"
            f" {describe_shape(shape)}.",
        )
    return array


@cache
def _nested_decoder(element: Any, depth: int) -> msgspec.json.Decoder[list[Any]]:
    nested: Any = element
    for _ in range(depth):
        nested = list[nested]
    return msgspec.json.Decoder(nested)


def _decode_numbers(text: bytes, name: str, datatype: Datatype, shape: Sequence[int]) -> Array:
    """Return the tensor in a long array of numbers or booleans, decoded in pieces."""
    _check_structure(text.translate(None, _NOT_STRUCTURE), name, shape)
    count = math.prod(shape)
    array = np.empty(count, datatype.numpy)
    flat = text.translate(None, b"[]")
    position = start = 0
    while start < len(flat) and count:
        end = flat.find(b",", start + _PIECE_BYTES)
        end = len(flat) if end < 0 else end
        try:
            elements = _decode_elements(b"[" + flat[start:end] + b"]", datatype)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _decoding_error(error, name, datatype, shape) from None
        array[position : position + len(elements)] = np.array(elements, datatype.numpy)
        position += len(elements)
        start = end + 1
    return array.reshape(shape)


def _decode_texts(text: bytes, name: str, datatype: Datatype, shape: Sequence[int]) -> Array:
    """Return the tensor in a long array of texts, decoded in pieces."""
    structure = b"".join(
        _EACH_STRING.sub(b"", piece).translate(None, _WHITESPACE)
        for piece in _split_at_strings(text)
    )
    if structure.translate(None, _STRUCTURE):
        raise tensor_error(name, f"data has an element that is not {datatype.name}.")
    _check_structure(structure, name, shape)
    texts: list[Any] = []
    try:
        for piece in _split_at_strings(text):
            flat = b",".join(_EACH_STRING.findall(piece))
            texts += datatype.decoder.decode(b"[" + flat + b"]")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _decoding_error(error, name, datatype, shape) from None
    # An array such as `[,]` has the right structure, but too few texts.
    _check_count(len(texts), name, shape)
    return np.array(texts, object).reshape(shape)


def _split_at_strings(text: bytes) -> Iterator[bytes]:
    """Yield pieces that each end with a string, and the rest."""
    start = 0
    while match := _STRINGS.match(text, start):
        yield match.group()
        start = match.end()
    yield text[start:]


def _check_structure(structure: bytes, name: str, shape: Sequence[int]) -> None:
    """Check that an array is flat with the right number of elements, or nested like the shape.

    Args:
        structure: The array's text without everything except brackets and commas.

    Raises:
        RequestError: 400, if it is not.
    """
    if not structure.startswith(b"[") or not structure.endswith(b"]"):
        raise tensor_error(name, "data is not an array.")
    if b"[" not in structure[1:]:
        commas = len(structure) - 2
        _check_count(commas + 1 if commas or math.prod(shape) else 0, name, shape)
        return
    # Compare the lengths first: the expected structure of a wrong shape can be much longer.
    length = 0
    for dim in reversed(shape):
        length = 2 + dim * (length + 1) - (dim > 0)
    if length != len(structure) or structure != _expected_structure(shape):
        raise _nesting_error(name, shape)


def _expected_structure(shape: Sequence[int]) -> bytes:
    structure = b""
    for dim in reversed(shape):
        structure = b"[" + ((structure + b",") * dim)[:-1] + b"]"
    return structure


def _check_count(count: int, name: str, shape: Sequence[int]) -> None:
    if count != math.prod(shape):
        raise tensor_error(
            name,
            f"data has {count} elements; shape {describe_shape(shape)} requires"
            f" {math.prod(shape)}.",
        )


def _decoding_error(
    error: Exception, name: str, datatype: Datatype, shape: Sequence[int]
) -> RequestError:
    """Report an array in place of an element, or the reverse, as a wrong nesting."""
    if "`array`" in str(error) or isinstance(error, RecursionError):
        return _nesting_error(name, shape)
    if "got `null`" in str(error) and datatype.size:
        return tensor_error(
            name,
            f"data has null, which is not {datatype.name}. Only in floating-point data, null is"
            " NaN. Send a value; the binary tensor data extension can send every value.",
        )
    return tensor_error(name, f"data has an element that is not {datatype.name}.")


def _nesting_error(name: str, shape: Sequence[int]) -> RequestError:
    return tensor_error(
        name, f"data is neither a flat array nor nested like shape {describe_shape(shape)}."
    )
