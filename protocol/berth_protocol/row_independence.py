"""Finds out whether a model predicts each row independently of the rows that share its run.

Only then can requests share a run: otherwise a client's response would depend on the requests of
others. Shapes cannot show it, because the first dimension of `[-1]` can be rows, samples of one
sound or tokens of one text, so the model runs rows together and separately.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = Mapping[str, Array]
Dims = Sequence[int | str | None]
"""A number for a fixed dimension; a name or None for a free one."""

TOLERANCE = 1e-5
"""Allowed difference relative to the largest number of an output. FP32 has seven decimal digits; a
run of another size can sum in another order, which changes the last two."""
HALF_TOLERANCE = 1e-2
"""The same for FP16, which has three decimal digits."""

# Rows that are compared. More rows show hardly more, and a network takes seconds for them.
_MAX_ROWS = 64


def explain_row_dependence(
    run: Callable[[dict[str, Array]], Arrays],
    feeds: Arrays,
    inputs: Mapping[str, Dims],
    outputs: Mapping[str, Dims],
    *,
    tolerance: float = TOLERANCE,
    trust_sizes: bool = False,
) -> str:
    """Return why the rows of `feeds` cannot share a run, or "" if they are independent.

    Args:
        run: Runs the model. It may raise any exception for inputs that the model does not support.
        feeds: Valid inputs. If they are one row, or equal rows, a variation of it is the second.
        inputs: Dimensions of each input in `feeds`.
        outputs: Dimensions of each output.
        trust_sizes: If True, accept an output with a free dimension that no input has. Such a size
            can depend on all rows, like the width of the widest row, which a run of `feeds` need
            not show.
    """
    problem = _check_dims(feeds, inputs)
    if not problem and not trust_sizes:
        problem = _check_sizes(inputs, outputs)
    if problem:
        return problem
    problem, rows, together = _run_together(run, feeds)
    if problem:
        return problem
    count = len(next(iter(rows.values())))
    for name, array in together.items():
        if not array.ndim or len(array) != count:
            return f"output {name!r} has shape {list(array.shape)} for {count} rows"
    for selection in _select(count):
        label = _describe(selection, count)
        try:
            part = run({name: array[selection] for name, array in rows.items()})
        except Exception as error:  # A runtime's exceptions have no common base class.
            return f"the model cannot run {label} ({_first_line(error)})"
        for name, array in part.items():
            if not _is_close(array, together[name], selection, tolerance):
                return f"output {name!r} differs when {label} run separately"
    return ""


def _check_dims(feeds: Arrays, inputs: Mapping[str, Dims]) -> str:
    counts = {}
    for name, array in feeds.items():
        if not array.ndim:
            return f"input {name!r} is a single value"
        if isinstance(inputs[name][0], int):
            return f"the first dimension of input {name!r} is fixed"
        counts[name] = len(array)
    if len(set(counts.values())) != 1:
        lengths = ", ".join(f"{name} {count}" for name, count in counts.items())
        return f"the first dimensions of the inputs differ ({lengths})" if counts else "no input"
    if not all(counts.values()):
        return "the inputs are empty"
    return ""


def _check_sizes(inputs: Mapping[str, Dims], outputs: Mapping[str, Dims]) -> str:
    known = {dim for dims in inputs.values() for dim in dims[1:] if isinstance(dim, str)}
    for name, dims in outputs.items():
        if any(not isinstance(dim, int) and dim not in known for dim in dims[1:]):
            return f"the size of output {name!r} can depend on all rows of a run: {_format(dims)}"
    return ""


def _run_together(
    run: Callable[[dict[str, Array]], Arrays], feeds: Arrays
) -> tuple[str, dict[str, Array], Arrays]:
    """Run several rows. Return a problem, the rows and the outputs."""
    rows = {name: array[:_MAX_ROWS] for name, array in feeds.items()}
    attempts = [rows]
    if all(np.array_equal(array, array[:1].repeat(len(array), 0)) for array in rows.values()):
        varied = (_append(rows, vary) for vary in (_roll, _clear))
        attempts = [*(attempt for attempt in varied if attempt is not None), rows]
    problem = ""
    for attempt in attempts:
        # A model that merges equal rows would return too few.
        attempt = {name: np.concatenate([array, array[:1]]) for name, array in attempt.items()}
        try:
            return "", attempt, run(attempt)
        except Exception as error:  # A runtime's exceptions have no common base class.
            count = len(next(iter(attempt.values())))
            problem = f"the model cannot run {count} rows ({_first_line(error)})"
    return problem, {}, {}


def _append(rows: dict[str, Array], vary: Callable[[Array], Array]) -> dict[str, Array] | None:
    """Append a variation of the first row to `rows`. Return None if it does not differ."""
    extra = {name: vary(array[:1]) for name, array in rows.items()}
    if all(np.array_equal(extra[name], array[:1]) for name, array in rows.items()):
        return None
    return {name: np.concatenate([array, extra[name]]) for name, array in rows.items()}


def _roll(row: Array) -> Array:
    """Return the values of `row` in other places, so that tokens and categories remain valid.

    Numbers are halved: a model that scales by the largest number of all rows would not differ.
    """
    rolled = np.roll(row.ravel(), 1).reshape(row.shape)
    return rolled * row.dtype.type(0.5) if row.dtype.kind == "f" else rolled


def _clear(row: Array) -> Array:
    return np.full_like(row, "" if row.dtype.kind == "O" else 0)


def _select(count: int) -> Iterator[Array]:
    every = np.arange(count)
    yield every[::-1]
    yield every[: count // 2]
    yield every[count // 2 :]
    for index in sorted({0, 1, count // 2, count - 2}):
        yield every[index : index + 1]


def _describe(selection: Array, count: int) -> str:
    if len(selection) == count:
        return f"{count} rows in reverse order"
    first, last = int(selection[0]), int(selection[-1])
    return f"row {first}" if first == last else f"rows {first} to {last}"


def _is_close(part: Array, together: Array, selection: Array, tolerance: float) -> bool:
    """Compare rows that ran separately with the same rows of a run of all rows."""
    expected = together[selection]
    if part.shape != expected.shape:
        return False
    if part.dtype.kind != "f":
        return bool(np.array_equal(part, expected))
    if part.dtype == np.float16:
        tolerance = max(tolerance, HALF_TOLERANCE)
    # A row with small numbers has the rounding errors of the large terms that they are sums of.
    values = together.astype(np.float64)
    scale = np.max(np.abs(values), initial=0.0, where=np.isfinite(values))
    atol = scale * tolerance
    return bool(np.allclose(part, expected, rtol=0, atol=atol, equal_nan=True))


def _format(dims: Dims) -> str:
    return f"[{', '.join(str(dim) if isinstance(dim, int) else '-1' for dim in dims)}]"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
