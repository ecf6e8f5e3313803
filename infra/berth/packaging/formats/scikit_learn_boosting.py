"""scikit-learn's gradient boosting on histograms: trees with FP64 thresholds and categories."""

from typing import Any

import numpy as np

from berth.packaging.rows import Array
from berth.packaging.tables import Category, Table
from berth.packaging.tree_inputs import TreeInputs
from berth.packaging.trees import Head, Trees, encode_classes, to_onnx

# The inverse link of each loss: https://github.com/scikit-learn/scikit-learn, sklearn/_loss/loss.py
_OPERATORS: dict[str, tuple[str, ...]] = {
    "AbsoluteError": (),
    "HalfBinomialLoss": ("Sigmoid",),
    "HalfGammaLoss": ("Exp",),
    "HalfMultinomialLoss": ("Softmax",),
    "HalfPoissonLoss": ("Exp",),
    "HalfSquaredError": (),
    "PinballLoss": (),
}

_BELOW_CODES = -1.0


def is_supported(model: object) -> bool:
    """Return whether `model` is a fitted estimator that `convert` converts."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return (
        isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor)
        and hasattr(model, "_predictors")
        and type(model._loss).__name__ in _OPERATORS
    )


def convert(
    model: Any, rows: Array | Table
) -> tuple[bytes, dict[str, type[Any]], dict[str, list[Category]]]:
    """Return the content of model.onnx, the type of each input, and categories by input.

    skl2onnx 1.20 rounds the thresholds, which are FP64 numbers, and does not support categories.
    """
    columns, encoders = _read_columns(model)
    names = tuple(column.name for column in rows.columns) if isinstance(rows, Table) else None
    inputs = TreeInputs(names, model.n_features_in_, encoders)
    base = np.asarray(model._baseline_prediction, np.float64).ravel().tolist()
    trees = Trees(features=model.n_features_in_, base=base, datatype=np.float64)
    number = 0
    for predictors in model._predictors:
        for column, predictor in enumerate(predictors):
            _read_tree(trees, number, predictor, column, columns)
            number += 1
    classes = encode_classes(model.classes_) if hasattr(model, "classes_") else None
    head = Head(_OPERATORS[type(model._loss).__name__], classes)
    types = {name: values.dtype.type for name, values in inputs.feeds(rows, np.float64).items()}
    return to_onnx(trees, head, inputs), types, inputs.by_name()


def _read_columns(model: Any) -> tuple[list[int], dict[int, list[Category]]]:
    """Return the column of each feature of the trees, and the categories by column."""
    count = model.n_features_in_
    if model._preprocessor is None:
        return list(range(count)), {}
    is_categorical = np.asarray(model.is_categorical_, bool)
    categorical = np.flatnonzero(is_categorical).tolist()
    encoder = model._preprocessor.named_transformers_["encoder"]
    categories = {
        column: [value for value in _to_python(values) if value == value and value is not None]
        for column, values in zip(categorical, encoder.categories_, strict=True)
    }
    # The preprocessor puts categorical columns first.
    return [*categorical, *np.flatnonzero(~is_categorical).tolist()], categories


def _to_python(values: Array) -> list[Any]:
    return list(values.tolist())


def _read_tree(trees: Trees, number: int, predictor: Any, column: int, columns: list[int]) -> None:
    nodes = predictor.nodes
    spare = len(nodes)
    for node, entry in enumerate(nodes):
        if entry["is_leaf"]:
            trees.add_leaf(number, node, column, float(entry["value"]))
            continue
        feature = columns[int(entry["feature_idx"])]
        left, right = int(entry["left"]), int(entry["right"])
        missing_left = bool(entry["missing_go_to_left"])
        categories: list[int] = []
        if entry["is_categorical"]:
            bits = predictor.raw_left_cat_bitsets[int(entry["bitset_idx"])]
            categories = _read_bits(bits)
        if categories:
            spare = trees.add_category_split(
                number,
                node,
                feature,
                categories,
                above=0.0,
                yes=left,
                no=right,
                missing_yes=missing_left,
                spare=spare,
            )
        else:
            trees.add_split(
                number,
                node,
                feature,
                "BRANCH_LEQ",
                # A split on categories of which none goes left separates missing values only.
                _BELOW_CODES if entry["is_categorical"] else float(entry["num_threshold"]),
                yes=left,
                no=right,
                missing_yes=missing_left,
            )


def _read_bits(bits: Array) -> list[int]:
    """Return the categories in a bit set of 32-bit words."""
    return [
        32 * word + bit for word in range(len(bits)) for bit in range(32) if bits[word] >> bit & 1
    ]
