"""How much memory a request takes, estimated from runs of the example in several sizes."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime

from berth_protocol.errors import RequestError
from berth_serving.memory import measure_peak, shrink_arena_after
from berth_serving.model import Model, count_elements
from berth_serving.processing import ProcessingError
from berth_serving.tensors import Array

Feeds = Mapping[str, Array]

# A run is measured in growing sizes until it takes this much memory or time, because smaller
# numbers contain mostly what Python and glibc need by themselves.
_ENOUGH_BYTES = 32 << 20
_ENOUGH_SECONDS = 0.4
_MAX_STEPS = 12
# Runs of the same size differ by up to a fifth (MiniLM, [16, 128]: 108 to 132 MiB).
_SAFETY = 1.25
# Memory that every run takes, such as pages that several tensors share.
_MIN_BYTES = 256 << 10
# A float takes up to 13 characters in JSON, and the pieces of the text exist twice when they are
# joined; the array itself takes 4 bytes.
JSON_BYTES_PER_BYTE = 8


@dataclass(frozen=True)
class MemoryEstimate:
    """The memory of a run, by its number of rows and by the elements of each row.

    A convolution takes memory in proportion to the length of a row, attention by its square.

    Attributes:
        linear_bytes: Bytes per element.
        quadratic_bytes: Bytes per square of the elements of a row.
    """

    linear_bytes: float
    quadratic_bytes: float

    def estimate(self, rows: int, elements: int) -> int:
        """Return the bytes of a run with `rows` rows that have `elements` elements together."""
        rows = max(1, rows)
        row_bytes = self._estimate_row(elements / rows)
        return math.ceil(_MIN_BYTES + _SAFETY * rows * row_bytes)

    def _estimate_row(self, elements: float) -> float:
        return self.linear_bytes * elements + self.quadratic_bytes * elements**2


def learn_memory(model: Model, example: Feeds, max_batch: int) -> MemoryEstimate | None:
    """Run the example with longer rows and with more rows, and measure the memory.

    Returns:
        None where the operating system does not report memory.
    """
    row = {
        name: array[:1] if name in model.row_inputs else array for name, array in example.items()
    }
    first = _measure(model, row)
    if first is None:
        # A model without rows, or one that needs several rows.
        row = dict(example)
        first = _measure(model, row)
    if first is None:
        return None
    longest, long = _grow(model, row, first, _find_free_axes(model, row))
    many, short = _grow(model, row, first, {name: [0] for name in model.row_inputs}, max_batch)
    rows = max(1, model.count_rows(many))
    short_elements, long_elements = count_elements(many) / rows, count_elements(longest)
    short_rate = short.size / rows / short_elements
    long_rate = long.size / long_elements
    if long_elements <= short_elements or long_rate <= short_rate:
        return MemoryEstimate(max(short_rate, long_rate), 0.0)
    quadratic = (long_rate - short_rate) / (long_elements - short_elements)
    return MemoryEstimate(max(0.0, short_rate - quadratic * short_elements), quadratic)


@dataclass(frozen=True)
class _Measured:
    size: int
    seconds: float


def _measure(model: Model, feeds: Feeds) -> _Measured | None:
    """Return the memory and time of a run, or None if it fails or cannot be measured."""
    arrays: list[Array] = []

    def run() -> None:
        options = onnxruntime.RunOptions()
        shrink_arena_after(options)
        arrays.extend(model.run(feeds, tuple(model.outputs), options))

    started = time.perf_counter()
    try:
        grown = measure_peak(run)
    except (RequestError, ProcessingError):
        return None  # The model has no such size, such as more positions than it learned.
    seconds = time.perf_counter() - started
    if grown is None:
        return None
    text_bytes = sum(array.nbytes for array in arrays) * JSON_BYTES_PER_BYTE
    return _Measured(max(grown, text_bytes), seconds)


def _find_free_axes(model: Model, feeds: Feeds) -> dict[str, list[int]]:
    """Return the axes of each input that can be longer, except rows."""
    axes = {
        name: [
            axis
            for axis, dim in enumerate(model.inputs[name].shape)
            if not isinstance(dim, int) and not (axis == 0 and name in model.row_inputs)
        ]
        for name in feeds
    }
    return {name: own for name, own in axes.items() if own or feeds[name].dtype.kind == "O"}


def _grow(
    model: Model,
    feeds: Feeds,
    measured: _Measured,
    axes: Mapping[str, Sequence[int]],
    max_rows: int = sys.maxsize,
) -> tuple[Feeds, _Measured]:
    """Return the largest inputs that were measured, doubled along `axes` again and again."""
    for _ in range(_MAX_STEPS):
        if (
            measured.size >= _ENOUGH_BYTES
            or measured.seconds >= _ENOUGH_SECONDS
            or 2 * model.count_rows(feeds) > max_rows
        ):
            break
        larger = {
            name: _double(array, axes[name]) if name in axes else array
            for name, array in feeds.items()
        }
        if count_elements(larger) <= count_elements(feeds):
            break
        result = _measure(model, larger)
        if result is None:
            break
        feeds, measured = larger, result
    return feeds, measured


def _double(array: Array, axes: Sequence[int]) -> Array:
    """Return an array that is twice as long along `axes`, or that has texts twice as long."""
    if array.dtype.kind == "O" and not axes:
        return np.array([f"{text} {text}" for text in array.ravel()], object).reshape(array.shape)
    for axis in axes:
        array = np.concatenate([array, array], axis=axis)
    return array
