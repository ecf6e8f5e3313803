"""Reads weights from safetensors files, without a framework."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from berth.packaging.errors import PackageError, first_line
from berth.packaging.rows import Array

_TYPES: dict[str, Any] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "F64": np.dtype("<f8")}


def read_safetensors(path: Path) -> dict[str, Array]:
    """Read a file: the length of a JSON header in 8 bytes, the header, and the data.

    See https://huggingface.co/docs/safetensors. Integers are returned as their bytes.

    Raises:
        PackageError: If the file is incomplete, or has weights of a type that NumPy lacks.
    """
    content = np.memmap(path, np.uint8, "r")
    try:
        length = int.from_bytes(content[:8].tobytes(), "little")
        header = json.loads(content[8 : 8 + length].tobytes())
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            if entry["dtype"] not in _TYPES and not entry["dtype"].startswith("I"):
                raise PackageError(
                    f"{path}: tensor {name!r} has type {entry['dtype']}. Save the model in FP32."
                )
            data: Array = content[8 + length + start : 8 + length + stop]
            if (kind := _TYPES.get(entry["dtype"])) is not None:
                data = np.frombuffer(data, kind).reshape(entry["shape"])
            tensors[name] = data
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(
            f"{path}: not a complete safetensors file ({first_line(error)}). Save the model again."
        ) from error
    return tensors
