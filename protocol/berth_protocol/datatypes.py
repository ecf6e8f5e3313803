"""Tensor datatypes of the Open Inference Protocol."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Datatype:
    """A tensor datatype.

    Attributes:
        name: Name in the protocol.
        size: Bytes per element in the binary tensor data extension. 0 if elements vary in size.
        json_type: Python type of one element in JSON.
    """

    name: str
    size: int
    json_type: type


# BF16 is missing because numpy has no such type.
DATATYPES = {
    datatype.name: datatype
    for datatype in (
        Datatype("BOOL", 1, bool),
        Datatype("UINT8", 1, int),
        Datatype("UINT16", 2, int),
        Datatype("UINT32", 4, int),
        Datatype("UINT64", 8, int),
        Datatype("INT8", 1, int),
        Datatype("INT16", 2, int),
        Datatype("INT32", 4, int),
        Datatype("INT64", 8, int),
        Datatype("FP16", 2, float),
        Datatype("FP32", 4, float),
        Datatype("FP64", 8, float),
        Datatype("BYTES", 0, str),
    )
}
"""Every datatype that Berth serves, by name."""
