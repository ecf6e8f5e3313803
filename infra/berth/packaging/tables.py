"""Tables of named columns, such as DataFrames: one input per column, by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from berth.packaging.errors import PackageError

Array = NDArray[Any]
Category = str | int | float | bool


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Name of the column, which becomes the name of the input.
        values: Numbers with NaN for missing ones, or `str` objects.
        categories: Values of a pandas category column, in the order of their codes. None for other
            columns.
    """

    name: str
    values: Array
    categories: list[Category] | None = None

    @property
    def is_text(self) -> bool:
        """Whether the column contains text."""
        return self.values.dtype.kind == "O"


@dataclass(frozen=True)
class Table:
    """Rows of columns of several types.

    Attributes:
        frame: What the framework gets: a pandas DataFrame, or an array of objects.
        columns: Columns of `frame`, in its order.
    """

    frame: Any
    columns: list[Column]

    def __len__(self) -> int:
        return len(self.frame)

    def arrays(self) -> dict[str, Array]:
        """Return each column by name, with shape [rows, 1]."""
        return {column.name: column.values.reshape(-1, 1) for column in self.columns}

    def replace(self, column: str, value: Any, count: int) -> "Table | None":
        """Return the first `count` rows with `value` in one column.

        Returns:
            None if the column cannot contain the value, such as NaN in a column of integers.
        """
        rows = min(count, len(self))
        position = [entry.name for entry in self.columns].index(column)
        if isinstance(self.frame, np.ndarray):
            array = self.frame[:rows].copy()
            array[:, position] = value
            return read_objects(array)
        frame = self.frame.iloc[:rows].copy()
        series = frame.iloc[:, position]
        if isinstance(value, float) and series.dtype.kind in "iub":
            return None
        try:
            frame[frame.columns[position]] = type(series)(
                [value] * rows, index=series.index, dtype=series.dtype
            )
        except (ValueError, TypeError, OverflowError):
            return None
        return read_frame(frame)


def is_frame(rows: object) -> bool:
    """Return whether `rows` is a pandas DataFrame, without importing pandas."""
    return any(
        cls.__module__.partition(".")[0] == "pandas" and cls.__name__ == "DataFrame"
        for cls in type(rows).__mro__
    )


def read_frame(frame: Any) -> Table:
    """Read a pandas DataFrame.

    Raises:
        PackageError: If it has no rows, or if a column has no name, or contains missing text or
            values of another type than numbers, booleans and text.
    """
    if not len(frame) or not len(frame.columns):
        raise PackageError(
            f"rows: the DataFrame is empty (shape {list(frame.shape)}). Pass at least one row."
        )
    names = [str(name) for name in frame.columns]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates or not all(names):
        raise PackageError(
            f"rows: each column of the DataFrame needs its own name; duplicate or empty: "
            f"{', '.join(duplicates) or 'an empty name'}. Rename the columns before training."
        )
    return Table(frame, [_read_series(name, frame.iloc[:, i]) for i, name in enumerate(names)])


def _read_series(name: str, series: Any) -> Column:
    if series.dtype.name == "category":
        categories = series.cat.categories.tolist()
        if all(isinstance(value, str) for value in categories):
            # Missing values have no code, like any value that is not a category.
            values = [value if isinstance(value, str) else "" for value in series.tolist()]
            return Column(name, np.array(values, object), categories)
        numbers = [float("nan") if value != value else float(value) for value in series.tolist()]
        return Column(name, np.array(numbers), categories)
    return Column(name, _to_values(name, series))


def _to_values(name: str, series: Any) -> Array:
    kind = series.dtype.kind
    if kind in "biuf":
        missing = series.isna()
        return np.asarray(series.to_numpy("float64", na_value=np.nan) if missing.any() else series)
    values = np.asarray(series, object)
    return _check_text(name, values)


def _check_text(name: str, values: Array) -> Array:
    missing = [value is None or value != value or str(value) == "<NA>" for value in values]
    if all(isinstance(value, str) for value in values):
        return values
    if any(missing) and all(
        isinstance(value, str) or absent for value, absent in zip(values, missing, strict=True)
    ):
        raise PackageError(
            f"rows: column {name!r} contains missing text. Text in ONNX cannot be missing. Replace "
            f"it in the training data and the rows, for example with frame[{name!r}].fillna('')."
        )
    types = sorted({type(value).__name__ for value in values})
    raise PackageError(
        f"rows: column {name!r} contains values of type {', '.join(types)}. Convert the column to "
        "numbers, booleans or text before training."
    )


def read_objects(array: Array) -> Table:
    """Read a matrix of objects: columns of numbers and of text, named `column_0` and so on.

    Raises:
        PackageError: If a column contains missing text, or values of another type.
    """
    return Table(array, list(_read_columns(array)))


def _read_columns(array: Array) -> Iterator[Column]:
    for position, values in enumerate(array.T):
        name = f"column_{position}"
        if all(isinstance(value, str) for value in values):
            yield Column(name, values)
            continue
        try:
            numbers = np.array([np.nan if value is None else value for value in values])
        except ValueError:
            numbers = values
        if numbers.dtype.kind not in "biuf":
            numbers = _check_text(name, values)
        yield Column(name, numbers)
