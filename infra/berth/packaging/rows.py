"""Real rows: what the converted model is compared on, and what its example is taken from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from berth.packaging.errors import PackageError
from berth.packaging.pickles import refuse_pickle

Array = NDArray[Any]
Rows = Array | dict[str, Array]


def read_rows(rows: object) -> Rows:
    """`rows` as an array, or as arrays by input name.

    `rows` is a path (`.npy`: one array; `.npz`: arrays by name), an array, a list of texts, or a
    mapping from names to any of the last two.

    Raises:
        PackageError: no rows, a file that cannot be read without unpickling, or not an array.
    """
    if rows is None:
        raise PackageError(
            "no rows: the converted model is compared with the framework on real rows; give "
            'them with --rows rows.npy, written by numpy.save("rows.npy", held_out_rows)'
        )
    if isinstance(rows, str | Path):
        return _read_file(Path(rows))
    if isinstance(rows, Mapping):
        return {str(name): _array(f"rows {name!r}", values) for name, values in rows.items()}
    return _array("rows", rows)


def one_of_numbers(rows: Rows, framework: str) -> Array:
    """`rows` for a model that has one input, of numbers.

    Raises:
        PackageError: they are arrays by name, or text.
    """
    if isinstance(rows, dict):
        raise PackageError(
            f"rows: a model of {framework} has one input here; give one array, not arrays by name"
        )
    if rows.dtype.kind == "O":
        raise PackageError(f"rows: are text, a model of {framework} takes numbers")
    return rows


def _read_file(path: Path) -> Rows:
    refuse_pickle(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _array(str(path), loaded)
        with loaded:
            return {name: _array(f"{path}: {name}", loaded[name]) for name in loaded.files}
    except (OSError, ValueError, EOFError) as error:
        raise PackageError(
            f"{path}: is not a .npy or .npz file that can be read without unpickling ({error}); "
            "write numbers or fixed-width text with numpy.save or numpy.savez"
        ) from error


def _array(where: str, values: object) -> Array:
    """`values` as an array of numbers or of `str` objects, at least one row long."""
    if hasattr(values, "toarray"):
        raise PackageError(f"{where}: is a sparse matrix; give .toarray() of some rows")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise PackageError(f"{where}: is not an array ({error})") from error
    if array.ndim == 0 or array.size == 0:
        raise PackageError(f"{where}: holds no row (shape {list(array.shape)})")
    if array.dtype.kind == "U":
        return array.astype(object)
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.flat):
        return array
    if array.dtype.kind not in "biuf":
        raise PackageError(
            f"{where}: holds values of type {array.dtype}; rows are numbers, booleans or text, "
            "one type per array"
        )
    return array
