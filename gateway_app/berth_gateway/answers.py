"""Compares the answer of a shadow version with the one that the client got.

Two versions of a model never compute exactly the same probabilities. What counts is whether they
decide the same: of the first row, the labels must be equal, or without labels the numbers must be
within 1 %.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from berth_protocol.headers import INFERENCE_HEADER_LENGTH

MAX_COMPARED_BYTES = 64 << 10
"""Largest answer that is compared: decoding it takes the gateway less than a millisecond."""

Outcome = Literal["equal", "different", "skipped"]

_RELATIVE, _ABSOLUTE = 0.01, 1e-6
# Datatype of the protocol -> format of one element in little-endian order.
_FORMATS = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
_NUMBERS = ("FP16", "FP32", "FP64", "BF16")
_MAX_DEPTH = 16


@dataclass(frozen=True)
class Answer:
    """A successful response to an inference request.

    Attributes:
        body: The body: JSON, or JSON and binary tensor data.
        json_length: Length of the JSON at the start of `body`, in bytes. None if it is all JSON.
    """

    body: bytes
    json_length: int | None = None


def read_json_length(headers: Mapping[str, str]) -> int | None:
    """Return the length of the JSON before binary tensor data, from the headers of a response.

    An invalid length is -1, with which the answer is skipped.
    """
    text = headers.get(INFERENCE_HEADER_LENGTH)
    if text is None:
        # Compressed JSON is not decoded.
        return -1 if "content-encoding" in headers else None
    return int(text) if text.isascii() and text.isdigit() else -1


class _Parameters(msgspec.Struct):
    binary_data_size: int | None = None


class _Output(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: _Parameters | None = None


class _Response(msgspec.Struct):
    outputs: list[_Output]


def compare_answers(one: Answer, other: Answer) -> Outcome:
    """Return whether two answers to the same request agree.

    An answer that is too long, or that does not follow the protocol, is skipped.
    """
    if max(len(one.body), len(other.body)) > MAX_COMPARED_BYTES:
        return "skipped"
    try:
        rows, other_rows = _read_first_row(one), _read_first_row(other)
    except (ValueError, struct.error, RecursionError):
        return "skipped"
    if rows.keys() != other_rows.keys():
        return "different"
    labels = [key for key in rows if key[1] not in _NUMBERS]
    is_equal = all(_are_equal(rows[key], other_rows[key]) for key in labels or rows)
    return "equal" if is_equal else "different"


def _read_first_row(answer: Answer) -> dict[tuple[str, str], Sequence[Any]]:
    """Return the first row of each output by its name and datatype.

    Raises:
        ValueError: If the answer does not follow the protocol.
    """
    end = len(answer.body) if answer.json_length is None else answer.json_length
    if not 0 < end <= len(answer.body):
        raise ValueError("the body cannot be read")
    response = msgspec.json.decode(answer.body[:end], type=_Response)
    if not response.outputs:
        raise ValueError("no outputs")
    rows: dict[tuple[str, str], Sequence[Any]] = {}
    for output in response.outputs:
        size = output.parameters.binary_data_size if output.parameters else None
        if output.data is not None:
            values: Sequence[Any] = _flatten(output.data)
        elif size is not None and 0 <= size <= len(answer.body) - end:
            values = _decode(answer.body[end : end + size], output.datatype)
            end += size
        else:
            raise ValueError("an output without data")
        rows[output.name, output.datatype] = values[: _count_row(output.shape)]
    return rows


def _count_row(shape: Sequence[int]) -> int:
    """Return how many elements one row has. A scalar is a row."""
    return max(math.prod(shape[1:]), 0)


def _flatten(data: list[Any], depth: int = 0) -> list[Any]:
    if depth > _MAX_DEPTH:
        raise ValueError("too many nested lists")
    if not any(isinstance(item, list) for item in data):
        return data
    return [
        value
        for item in data
        for value in (_flatten(item, depth + 1) if isinstance(item, list) else [item])
    ]


def _decode(data: bytes, datatype: str) -> Sequence[Any]:
    """Return the elements of a binary tensor."""
    if datatype == "BYTES":
        return _decode_texts(data)
    if datatype == "BF16":
        # The upper half of a 32-bit float.
        halves = struct.unpack(f"<{len(data) // 2}H", data)
        return struct.unpack(f"<{len(halves)}f", struct.pack(f"<{len(halves)}I", *(
            half << 16 for half in halves
        )))  # fmt: skip
    if datatype not in _FORMATS:
        raise ValueError(f"unknown datatype {datatype}")
    code = _FORMATS[datatype]
    return struct.unpack(f"<{len(data) // struct.calcsize(f'<{code}')}{code}", data)


def _decode_texts(data: bytes) -> list[bytes]:
    """Return the elements of a tensor of texts: each has its length in 4 bytes before it."""
    texts, start = [], 0
    while start < len(data):
        (length,) = struct.unpack_from("<I", data, start)
        start += 4
        if length > len(data) - start:
            raise ValueError("a text that ends early")
        texts.append(data[start : start + length])
        start += length
    return texts


def _are_equal(ones: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(ones) == len(others) and all(map(_is_equal, ones, others))


def _is_equal(one: Any, other: Any) -> bool:
    if not isinstance(one, float | int) or not isinstance(other, float | int):
        return bool(one == other)  # Also null: a number that is not finite.
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
