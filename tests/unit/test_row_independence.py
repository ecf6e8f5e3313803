"""Requests may share a run only if the model predicts each row independently."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from berth_protocol.row_independence import Array, Dims, explain_row_dependence

X = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)


def explain(
    function: Callable[..., Any],
    *arrays: Array,
    inputs: Dims | None = None,
    outputs: Dims | None = None,
) -> str:
    """Explain the dependence of `function`, whose inputs are `arrays`."""
    feeds = {f"x{index}": array for index, array in enumerate(arrays)}
    return explain_row_dependence(
        lambda values: {"y": np.asarray(function(*values.values()))},
        feeds,
        {name: inputs or ["n", *array.shape[1:]] for name, array in feeds.items()},
        {"y": outputs or ["n", 3]},
    )


def _matmul(x: Array) -> Array:
    product: Array = x @ np.eye(3, dtype=x.dtype)
    return product


def _quantize(x: Array) -> Array:
    scale = np.abs(x).max() / 127
    quantized: Array = np.round(x / scale) * scale
    return quantized


@pytest.mark.parametrize("rows", [X, X[:1], np.ones_like(X), X.astype(np.float16)])
def test_independent_rows_are_accepted(rows: Array) -> None:
    assert explain(_matmul, rows) == ""
    assert explain(lambda x: x.argmax(1), rows, outputs=["n"]) == ""


def test_rows_of_text_and_several_inputs_are_accepted() -> None:
    text = np.array([["a"], ["b"]], object)
    assert explain(lambda a, b: np.concatenate([a == "a", b > 0], 1), text, X[:2]) == ""


def test_rows_with_nan_are_accepted() -> None:
    missing = X.copy()
    missing[:, 1] = np.nan
    assert explain(_matmul, missing) == ""


def test_difference_of_rounding_is_accepted() -> None:
    assert explain(lambda x: x * np.float32(1 + 1e-7 * len(x)), X) == ""


def test_rounding_of_small_number_next_to_large_ones_is_accepted() -> None:
    small = X.copy()
    small[1] = 1e-6
    assert explain(lambda x: x + np.float32(1e-7 * len(x)), small) == ""


@pytest.mark.parametrize("rows", [X, X[:2], X[:1], np.ones_like(X)])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x - x.mean(0),
        lambda x: x / np.abs(x).max(0),
        lambda x: np.exp(x) / np.exp(x).sum(0),
        lambda x: np.cumsum(x, 0),
        lambda x: x + len(x),
        lambda x: x[::-1],
        lambda x: np.sort(x, 0),
        _quantize,
    ],
    ids=["center", "scale", "softmax", "cumsum", "count", "reverse", "sort", "quantize"],
)
def test_function_of_all_rows_is_reported(function: Callable[[Array], Array], rows: Array) -> None:
    assert "'y'" in explain(function, rows)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: np.unique(x, axis=0), "output 'y' has shape [9, 3] for 10 rows"),
        (lambda x: x.sum(), "output 'y' has shape [] for 10 rows"),
        (lambda x: x.mean(0, keepdims=True), "output 'y' has shape [1, 3] for 10 rows"),
        (lambda x: x.reshape(2, -1, 3)[0], "output 'y' has shape [5, 3] for 10 rows"),
    ],
)
def test_output_without_one_row_per_row_is_reported(
    function: Callable[[Array], Array], message: str
) -> None:
    assert explain(function, X) == message


def test_model_for_one_row_is_reported() -> None:
    reason = explain(lambda x: x.reshape(1, 3), X[:1])
    assert reason.startswith("the model cannot run 2 rows (cannot reshape")


def test_fixed_single_empty_and_different_first_dimensions_are_reported() -> None:
    assert explain(_matmul, X, inputs=[9, 3]) == "the first dimension of input 'x0' is fixed"
    assert explain(_matmul, np.array(5)) == "input 'x0' is a single value"
    assert explain(_matmul, X[:0]) == "the inputs are empty"
    assert "differ (x0 9, x1 2)" in explain(lambda a, _b: a, X, X[:2])


def test_output_whose_size_depends_on_other_rows_is_reported() -> None:
    words = np.array(["a b", "a"], object)
    reason = explain(lambda x: x[:, None], words, outputs=["n", None])
    assert reason == "the size of output 'y' can depend on all rows of a run: [-1, -1]"
    assert explain(_matmul, X, inputs=["n", "tokens"], outputs=["n", "tokens"]) == ""
