"""Real rows, on which the converted model is compared and from which its example is built."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from berth.packaging.errors import PackageError
from berth.packaging.pickles import reject_pickle
from berth.packaging.tables import Table, is_frame, read_frame, read_objects

Array = NDArray[Any]
Rows = Array | dict[str, Array]


def read_rows(rows: object) -> Rows | Table:
    """Return `rows` as one array, or as arrays by input name.

    Args:
        rows: The path of a file (`.npy` for one array, `.npz` for arrays by name), an array, a list
            of texts, a mapping from names to arrays or lists, a pandas DataFrame, or a matrix of
            objects whose columns are numbers or text.

    Raises:
        PackageError: If there are no rows, if a file cannot be read without unpickling, or if a
            value is not an array.
    """
    if rows is None:
        raise PackageError(
            "No rows: Berth compares the converted model with the framework on real rows. Pass "
            'them with --rows rows.npy, written by numpy.save("rows.npy", held_out_rows).'
        )
    if isinstance(rows, str | Path):
        return _read_file(Path(rows))
    if is_frame(rows):
        return read_frame(rows)
    if isinstance(rows, np.ndarray) and rows.dtype.kind == "O" and _is_mixed(rows):
        return read_objects(rows)
    if isinstance(rows, Mapping):
        return _check_content(
            {str(name): _to_array(f"rows {name!r}", values) for name, values in rows.items()}
        )
    return _check_content(_to_array("rows", rows))


def _is_mixed(rows: Array) -> bool:
    return rows.ndim == 2 and rows.size > 0 and not all(isinstance(v, str) for v in rows.flat)


def require_single_numeric_array(rows: Rows | Table, framework: str) -> Array:
    """Return the rows for a model with one numeric input.

    Raises:
        PackageError: If they are arrays by name, or text.
    """
    if isinstance(rows, dict | Table):
        raise PackageError(
            f"rows: a {framework} model has one input. Pass one array, not arrays by name. Return "
            "a model that reads a DataFrame from a function, together with the DataFrame."
        )
    if rows.dtype.kind == "O":
        raise PackageError(f"rows: they contain text, but a {framework} model accepts only numbers")
    if not rows.ndim:
        raise PackageError("rows: one number is not a row. Pass an array with one row or more.")
    return rows


def require_numbers(rows: Rows | Table, framework: str) -> Array | Table:
    """Return the rows for a model that reads numbers: one array, or a table.

    Raises:
        PackageError: If they are arrays by name, or text in columns that are not categories.
    """
    if not isinstance(rows, Table):
        return require_single_numeric_array(rows, framework)
    text = [column.name for column in rows.columns if column.is_text and not column.categories]
    if text:
        raise PackageError(
            f"rows: the columns {', '.join(text)} contain text, but a {framework} model accepts "
            "only numbers and categories. Convert them with astype('category') before training."
        )
    return rows


def _read_file(path: Path) -> Rows:
    reject_pickle(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _check_content(_to_array(str(path), loaded))
        with loaded:
            return _check_content(
                {name: _to_array(f"{path}: {name}", loaded[name]) for name in loaded.files}
            )
    except (OSError, ValueError, EOFError) as error:
        raise PackageError(
            f"{path}: not a .npy or .npz file that can be read without unpickling ({error}). Write "
            "numbers or fixed-width text with numpy.save or numpy.savez."
        ) from error


def _check_content(rows: Rows) -> Rows:
    """Check that there are values. Some inputs can be empty, such as a decoder's first cache."""
    arrays = rows if isinstance(rows, dict) else {"rows": rows}
    if not any(array.size for array in arrays.values()):
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise PackageError(
            f"rows: every array is empty ({shapes or 'no array'}). Pass at least one row."
        )
    return rows


def _to_array(name: str, values: object) -> Array:
    """Convert `values` to an array of numbers or of `str` objects."""
    if hasattr(values, "toarray"):
        raise PackageError(f"{name}: sparse matrices are not supported. Pass rows.toarray().")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise PackageError(f"{name}: cannot convert the value to an array ({error})") from error
    if array.dtype.kind == "U":
        return array.astype(object)
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.flat):
        return array
    if array.dtype.kind not in "biuf":
        raise PackageError(
            f"{name}: values of type {array.dtype} are not supported. Pass numbers, booleans or "
            "text, with one type per array."
        )
    return array
