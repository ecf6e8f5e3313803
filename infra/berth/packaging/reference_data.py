"""Reference data: rows of the training data, which a berth compares with the rows of requests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from berth.packaging import runtime
from berth.packaging.errors import PackageError
from berth.packaging.rows import Array, read_rows
from berth.packaging.tables import Table, read_frame
from berth_protocol.model_card import Tensor

MIN_ROWS = 100
MAX_ROWS = 100_000
_SUFFIXES = (".csv", ".parquet", ".npy", ".npz")


def read_reference(source: object, inputs: Sequence[Tensor]) -> dict[str, Array]:
    """Return the rows of each required input.

    Args:
        source: The path of a `.csv`, `.parquet`, `.npy` or `.npz` file, or what `read_rows`
            accepts. Columns that are no inputs, such as labels, are ignored.

    Raises:
        PackageError: If the data cannot be read, does not fit the inputs, or has too few rows.
    """
    data = _read(source)
    arrays: dict[str, Array]
    if isinstance(data, Table):
        arrays = _match_columns(data, inputs)
    elif isinstance(data, dict):
        arrays = data
    else:
        arrays = {inputs[0].name: data} if len(inputs) == 1 else {}
    required = [tensor for tensor in inputs if not tensor.optional]
    missing = [tensor.name for tensor in required if tensor.name not in arrays]
    if missing:
        raise PackageError(
            f"reference data: rows for the inputs {', '.join(missing)} are missing; it has "
            f"{', '.join(arrays) or 'one array'}. Name its columns or arrays as the inputs."
        )
    chosen = {tensor.name: _fit(tensor, arrays[tensor.name]) for tensor in required}
    counts = {name: len(array) for name, array in chosen.items()}
    if len(set(counts.values())) != 1:
        raise PackageError(
            f"reference data: each input needs the same number of rows, got {counts}"
        )
    count = next(iter(counts.values()))
    if count < MIN_ROWS:
        raise PackageError(
            f"reference data: {count} rows are too few for statistics. Pass {MIN_ROWS} or more."
        )
    step = -(-count // MAX_ROWS)
    return {name: array[::step] for name, array in chosen.items()}


def _read(source: object) -> Any:
    if not isinstance(source, str | Path):
        return read_rows(source)
    path = Path(source)
    if path.suffix not in _SUFFIXES:
        raise PackageError(
            f"{path}: reference data of this kind cannot be read. Use {', '.join(_SUFFIXES)}."
        )
    if path.suffix in (".npy", ".npz"):
        return read_rows(path)
    import pandas as pd

    try:
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except ImportError as error:
        raise PackageError(
            f"{path}: pandas needs another package to read Parquet. Run 'pip install pyarrow', or "
            "write the data as .csv."
        ) from error
    except (OSError, ValueError) as error:
        raise PackageError(f"{path}: cannot read the reference data ({error})") from error
    for name in frame.columns:
        if frame[name].dtype.kind not in "biuf":
            # Text in requests cannot be missing; clients send empty text.
            frame[name] = frame[name].fillna("").astype(str).astype(object)
    return read_frame(frame)


def _match_columns(table: Table, inputs: Sequence[Tensor]) -> dict[str, Array]:
    """Return the columns by name, or all as one matrix for a model with one input."""
    columns = table.arrays()
    if len(inputs) == 1 and inputs[0].name not in columns:
        width = inputs[0].shape[1] if len(inputs[0].shape) == 2 else 1
        if len(columns) != width or any(column.is_text for column in table.columns):
            raise PackageError(
                f"reference data: it has the columns {', '.join(columns)}; input "
                f"{inputs[0].name!r} has {width} numbers in each row. Pass exactly these columns, "
                "in the order of the training data."
            )
        return {inputs[0].name: np.concatenate(list(columns.values()), axis=1)}
    return columns


def _fit(tensor: Tensor, values: Array) -> Array:
    if values.ndim == 2 and values.shape[1] == 1 and len(tensor.shape) == 1:
        values = values[:, 0]
    elif values.ndim == 1 and tensor.shape[1:] == [1]:
        values = values[:, None]
    return runtime.cast_to_input(tensor, values)
