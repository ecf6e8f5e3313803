"""The Open Inference Protocol's datatypes, as onnxruntime and numpy name them."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np


@dataclass(frozen=True)
class Datatype:
    """One tensor datatype.

    `size` is bytes per element in the binary extension, 0 where elements differ. `json` decodes
    a flat JSON array of such elements, each an `element`, without a loop in Python.
    """

    name: str
    onnx: str
    numpy: np.dtype[Any]
    size: int
    element: type
    json: msgspec.json.Decoder[list[Any]]


def _datatype(name: str, onnx: str, numpy: str, element: type) -> Datatype:
    dtype = np.dtype(numpy)
    size = 0 if dtype == np.dtype(object) else dtype.itemsize
    decoder = msgspec.json.Decoder(list[element])  # type: ignore[valid-type]
    return Datatype(name, f"tensor({onnx})", dtype, size, element, decoder)


# Little-endian, as the binary extension has it. BF16 is not here: numpy has no such type.
_ALL = (
    _datatype("BOOL", "bool", "?", bool),
    _datatype("UINT8", "uint8", "<u1", int),
    _datatype("UINT16", "uint16", "<u2", int),
    _datatype("UINT32", "uint32", "<u4", int),
    _datatype("UINT64", "uint64", "<u8", int),
    _datatype("INT8", "int8", "<i1", int),
    _datatype("INT16", "int16", "<i2", int),
    _datatype("INT32", "int32", "<i4", int),
    _datatype("INT64", "int64", "<i8", int),
    _datatype("FP16", "float16", "<f2", float),
    _datatype("FP32", "float", "<f4", float),
    _datatype("FP64", "double", "<f8", float),
    _datatype("BYTES", "string", "O", str),
)
DATATYPES = {datatype.name: datatype for datatype in _ALL}
BY_ONNX_TYPE = {datatype.onnx: datatype for datatype in _ALL}
