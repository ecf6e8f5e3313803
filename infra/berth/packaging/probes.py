"""Rows that exercise what an estimator claims: missing and infinite values, unknown categories.

The user's rows need not contain them, but clients send them. Where the framework predicts for such
rows, the converted model must predict the same. Where it raises an error, it makes no claim.
"""

from collections.abc import Callable, Iterator

import numpy as np

from berth.packaging.rows import Array
from berth.packaging.tables import Column, Table

# Rows and columns that are changed. More take longer and hardly show more.
_ROWS = 10
_COLUMNS = 200
# Each of so few columns is a probe of its own, because the framework may reject only some of them.
_SEPARATE_COLUMNS = 20
_UNKNOWN = "a value that is not in the training data"
# Above every category and integer that FP32 represents exactly.
_UNKNOWN_NUMBER = 12_345_678

Probe = tuple[str, Array | Table]
"""A description that completes "for rows with", and the rows."""


def build_probes(rows: Array | Table) -> Iterator[Probe]:
    """Yield variations of the first rows."""
    if isinstance(rows, Table):
        for column in rows.columns[:_COLUMNS]:
            for description, value in _values_for(column):
                changed = rows.replace(column.name, value, _ROWS)
                if changed is not None:
                    yield f"{description} in column {column.name!r}", changed
    elif rows.dtype.kind == "O":
        yield from _text_probes(rows)
    elif rows.ndim == 2:
        yield from _number_probes(rows)


def _values_for(column: Column) -> Iterator[tuple[str, object]]:
    if column.is_text:
        yield "an unknown category", _UNKNOWN
        yield "empty text", ""
    else:
        yield "NaN", float("nan")
        yield "infinity", float("inf")
        yield "negative infinity", float("-inf")
        if column.values.dtype.kind in "iu" or column.categories is not None:
            yield "an unknown category", _UNKNOWN_NUMBER


def _number_probes(rows: Array) -> Iterator[Probe]:
    some = rows[:_ROWS].astype(np.float64)
    columns = range(min(some.shape[1], _COLUMNS))
    whole = [column for column in columns if np.array_equal(rows[:, column] // 1, rows[:, column])]
    for description, value, changed_columns in (
        ("NaN", np.nan, columns),
        ("infinity", np.inf, columns),
        ("negative infinity", -np.inf, columns),
        ("an unknown category", _UNKNOWN_NUMBER, whole),
    ):
        probes = []
        for column in changed_columns:
            changed = some.copy()
            changed[:, column] = value
            probes.append((f"{description} in column {column}", changed))
        if len(probes) <= _SEPARATE_COLUMNS:
            yield from probes
        else:
            yield f"{description} in one column", np.concatenate([probe for _, probe in probes])
    yield "only NaN", np.full_like(some[:1], np.nan)


def _text_probes(rows: Array) -> Iterator[Probe]:
    some = rows[:_ROWS]
    changes: dict[str, Callable[[str], str]] = {
        "empty text": lambda _text: "",
        "only white space": lambda _text: " \t\n",
        "text in upper case": str.upper,
        "unknown words": lambda text: f"{text} {_UNKNOWN}",
        "punctuation": lambda text: f"({text})! {text.replace(' ', ', ')}?",
    }
    for description, change in changes.items():
        flat = [change(str(text)) for text in some.ravel()]
        yield description, np.array(flat, object).reshape(some.shape)
