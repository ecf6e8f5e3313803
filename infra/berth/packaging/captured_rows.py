"""Reads captured requests as rows: the file that `berth capture` writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from berth.packaging import runtime
from berth.packaging.errors import PackageError
from berth.packaging.rows import Array
from berth_protocol.model_card import Tensor

SUFFIX = ".jsonl"


class _Tensor(msgspec.Struct, kw_only=True):
    name: str
    shape: list[int]
    data: list[Any] | None = None
    redacted: bool = False


class _Request(msgspec.Struct):
    inputs: list[_Tensor]


def read_captured_rows(path: Path, inputs: Sequence[Tensor]) -> dict[str, Array]:
    """Return the rows of all captured requests by the name of the required input.

    Raises:
        PackageError: If a line is not a captured request of a model with these inputs, or the
            values of an input were redacted.
    """
    required = [tensor for tensor in inputs if not tensor.optional]
    parts: dict[str, list[Array]] = {tensor.name: [] for tensor in required}
    number = 0
    try:
        with path.open("rb") as lines:
            for line in lines:
                number += 1
                _add(msgspec.json.decode(line, type=_Request), required, parts)
    except (ValueError, TypeError, msgspec.DecodeError) as error:
        raise PackageError(
            f"{path}: line {number} is not a captured request: {error}. Write the file with "
            "'berth capture'."
        ) from error
    except PackageError as error:
        raise PackageError(f"{path}: line {number}: {error}") from error
    except OSError as error:
        raise PackageError(f"{path}: cannot read the file ({error.strerror})") from error
    if not all(parts.values()):
        raise PackageError(f"{path}: the file contains no captured request")
    try:
        return {name: np.concatenate(arrays) for name, arrays in parts.items()}
    except ValueError as error:
        raise PackageError(f"{path}: the requests have rows of different shapes") from error


def _add(request: _Request, required: Sequence[Tensor], parts: dict[str, list[Array]]) -> None:
    sent = {tensor.name: tensor for tensor in request.inputs}
    for tensor in required:
        found = sent.get(tensor.name)
        if found is None:
            raise PackageError(f"input {tensor.name!r} is missing")
        if found.redacted or found.data is None:
            raise PackageError(
                f"the values of input {tensor.name!r} were redacted, so the request cannot be "
                "repeated. Remove the input from capture.redact, or use other rows."
            )
        data = [np.nan if value is None else value for value in found.data]
        array = np.array(data, object if tensor.datatype == "BYTES" else None)
        parts[tensor.name].append(runtime.cast_to_input(tensor, array.reshape(found.shape)))
