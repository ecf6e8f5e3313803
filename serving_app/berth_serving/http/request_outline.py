"""Limits on everything in a JSON request except data, checked before it is decoded.

A short piece of JSON, such as `{},`, becomes an object of a hundred bytes or more. Only the data of
inputs may be long, and `berth_serving.json_tensors` decodes it in pieces.
"""

import re

import msgspec

from berth_protocol.errors import RequestError
from berth_serving.model import Model

SHORT_JSON_BYTES = 64 << 10
"""A request up to this length is decoded at once. It takes a few MiB at most."""

MAX_ID_CHARACTERS = 1024

# Apart from data, a request contains names, shapes and parameters of the model's tensors.
_MAX_FIELD_BYTES = 64 << 10
_MAX_TENSOR_BYTES = 4 << 10
# An input is one object, and its parameters are another. The rest is for fields that are ignored.
_OBJECTS_PER_INPUT = 2
_MAX_IGNORED_OBJECTS = 64

_NEXT_OBJECT = re.compile(rb'(?:[^"{]++|"(?:[^"\\]++|\\.)*+")*+\{', re.DOTALL)
_ABSENT = msgspec.Raw(b"null")


class _Outline(msgspec.Struct):
    inputs: msgspec.Raw = _ABSENT
    outputs: msgspec.Raw = _ABSENT
    parameters: msgspec.Raw = _ABSENT
    id: msgspec.Raw = _ABSENT


class _InputOutline(msgspec.Struct):
    name: msgspec.Raw = _ABSENT
    datatype: msgspec.Raw = _ABSENT
    shape: msgspec.Raw = _ABSENT
    parameters: msgspec.Raw = _ABSENT


_DECODE_OUTLINE = msgspec.json.Decoder(_Outline).decode
_DECODE_INPUTS = msgspec.json.Decoder(list[_InputOutline]).decode


def check_outline(header: bytes, model: Model) -> None:
    """Check the size of each part of a request except data.

    Raises:
        RequestError: 400, if a part is longer than any request for this model needs.
        msgspec.DecodeError: If `header` is not a JSON object with an array `inputs`.
    """
    if len(header) <= SHORT_JSON_BYTES:
        return
    outline = _DECODE_OUTLINE(header)
    _check_length("id", outline.id, _MAX_FIELD_BYTES)
    _check_length("parameters", outline.parameters, _MAX_FIELD_BYTES)
    _check_length(
        "outputs", outline.outputs, _MAX_FIELD_BYTES + _MAX_TENSOR_BYTES * len(model.outputs)
    )
    inputs = bytes(outline.inputs)
    limit = _OBJECTS_PER_INPUT * len(model.inputs) + _MAX_IGNORED_OBJECTS
    if _has_more_objects(inputs, limit):
        raise RequestError(
            400,
            f"The request has too many inputs; the model has {len(model.inputs)}."
            " Send each input once.",
        )
    for entry in _DECODE_INPUTS(inputs):
        name = bytes(entry.name)[:64].decode(errors="replace")
        for field in ("name", "datatype", "shape"):
            _check_length(f"inputs[{name}].{field}", getattr(entry, field), _MAX_TENSOR_BYTES)
        _check_length(f"inputs[{name}].parameters", entry.parameters, _MAX_FIELD_BYTES)


def _check_length(field: str, raw: msgspec.Raw, limit: int) -> None:
    length = len(memoryview(raw))
    if length > limit:
        raise RequestError(
            400,
            f"Field {field} has {length} bytes of JSON; the maximum is {limit}."
            " Remove what the model does not need.",
        )


def _has_more_objects(text: bytes, limit: int) -> bool:
    if text.count(b"{") <= limit:
        return False
    # Texts can contain braces, too.
    position = 0
    for _ in range(limit + 1):
        match = _NEXT_OBJECT.match(text, position)
        if match is None:
            return False
        position = match.end()
    return True
