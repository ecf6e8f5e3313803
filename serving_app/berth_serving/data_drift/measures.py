"""Measures rows: one number for each row and feature, and the bin that it falls into.

`berth package` measures reference data with the same functions, so that the bins agree.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from berth_protocol.training_statistics import MAX_VALUE_CHARACTERS, Feature, Kind

Array = np.ndarray[Any, np.dtype[Any]]

MAX_COLUMNS = 32
"""A tensor with more numbers in each row is summarized."""
_MAX_ROWS = 256
_MAX_ELEMENTS = 1024
_MAX_TOTAL_ELEMENTS = 64 << 10


class TensorMeter:
    """Measures the rows of one tensor.

    Args:
        features: Features of the tensor.
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        self.features = features
        self._columns = [feature.column for feature in features]
        self._is_text = features[0].kind in (Kind.TEXT, Kind.LENGTH)
        self._is_summary = features[0].kind in (Kind.MEAN, Kind.DEVIATION)
        self._codes = [
            {value: code for code, value in enumerate(feature.values)} for feature in features
        ]

    def measure(self, array: Array) -> Array | None:
        """Return one number for each row and feature, as an array that owns its memory.

        Returns:
            None if the rows have too few columns, because the tensor is another one.
        """
        rows = np.asarray(array).reshape(len(array), -1)
        if self._is_summary:
            return summarize(rows)
        if rows.shape[1] <= max(self._columns):
            return None
        if not self._is_text:
            return rows[:, self._columns].astype(np.float64)
        measured = np.empty((len(rows), len(self.features)))
        for at, feature in enumerate(self.features):
            texts = rows[:, feature.column].tolist()
            if feature.kind is Kind.LENGTH:
                measured[:, at] = [len(text) for text in texts]
            else:
                codes, other = self._codes[at], len(feature.values)
                measured[:, at] = [codes.get(shorten(text), other) for text in texts]
        return measured

    def count(self, measured: Array) -> list[Array]:
        """Return the number of rows in each bin of each feature."""
        return [
            np.bincount(find_bins(feature, measured[:, at]), minlength=len(feature.counts))
            for at, feature in enumerate(self.features)
        ]


def shorten(text: object) -> str:
    """Return the part of a text that tells values apart."""
    return str(text)[:MAX_VALUE_CHARACTERS]


def summarize(rows: Array) -> Array:
    """Return the mean and the standard deviation of each row, of at most 1,024 of its numbers.

    NaN and infinity in a row make both NaN.
    """
    step = -(-rows.shape[1] // _MAX_ELEMENTS)
    with np.errstate(all="ignore"):
        numbers = rows[:, :: max(1, step)].astype(np.float64)
        return np.stack([numbers.mean(axis=1), numbers.std(axis=1)], axis=1)


def find_bins(feature: Feature, measured: Array) -> Array:
    """Return the position of the bin of each number."""
    is_missing = np.isnan(measured)
    if feature.kind is Kind.TEXT:
        return measured.astype(np.int64)
    if feature.kind is Kind.VALUE:
        values = np.array(feature.values, np.float64)
        at = np.minimum(np.searchsorted(values, measured), len(values) - 1)
        bins = np.where(values[at] == measured, at, len(values))
    else:
        bins = np.searchsorted(np.array(feature.edges, np.float64), measured)
    return np.where(is_missing, len(feature.counts) - 1, bins)


def sample_rows(array: Array) -> Array:
    """Return rows of an array at equal distances, so few that measuring them takes little time."""
    elements = min(_MAX_ELEMENTS, max(1, array.size // max(1, len(array))))
    limit = max(1, min(_MAX_ROWS, _MAX_TOTAL_ELEMENTS // elements))
    return array[:: -(-len(array) // limit)] if len(array) > limit else array
