"""The protocol's datatypes in numpy and ONNX Runtime."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from berth_protocol import datatypes


@dataclass(frozen=True)
class Datatype:
    """A tensor datatype.

    Attributes:
        name: Name in the protocol.
        onnx: Type name in ONNX Runtime.
        numpy: Type in numpy. Little-endian, as the binary tensor data extension requires.
        size: Bytes per element in the binary extension. 0 if elements vary in size.
        element: Python type of one element in JSON.
        decoder: Decodes a flat JSON array of elements without a loop in Python.
    """

    name: str
    onnx: str
    numpy: np.dtype[Any]
    size: int
    element: type
    decoder: msgspec.json.Decoder[list[Any]]


_NAMES = {
    # Protocol -> ONNX Runtime, numpy
    "BOOL": ("bool", "?"),
    "UINT8": ("uint8", "<u1"),
    "UINT16": ("uint16", "<u2"),
    "UINT32": ("uint32", "<u4"),
    "UINT64": ("uint64", "<u8"),
    "INT8": ("int8", "<i1"),
    "INT16": ("int16", "<i2"),
    "INT32": ("int32", "<i4"),
    "INT64": ("int64", "<i8"),
    "FP16": ("float16", "<f2"),
    "FP32": ("float", "<f4"),
    "FP64": ("double", "<f8"),
    "BYTES": ("string", "O"),
}


def _build(datatype: datatypes.Datatype) -> Datatype:
    onnx, numpy = _NAMES[datatype.name]
    element = datatype.json_type
    return Datatype(
        name=datatype.name,
        onnx=f"tensor({onnx})",
        numpy=np.dtype(numpy),
        size=datatype.size,
        element=element,
        decoder=msgspec.json.Decoder(list[element]),  # type: ignore[valid-type]
    )


DATATYPES = {name: _build(datatype) for name, datatype in datatypes.DATATYPES.items()}
BY_ONNX_TYPE = {datatype.onnx: datatype for datatype in DATATYPES.values()}
