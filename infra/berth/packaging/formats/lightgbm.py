"""LightGBM: a booster, an estimator, or the text file of a booster."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from berth.packaging.child_process import convert_in_child_process
from berth.packaging.conversion import Conversion
from berth.packaging.errors import PackageError, first_line
from berth.packaging.rows import Array, Rows, require_numbers, require_single_numeric_array
from berth.packaging.tables import Table
from berth.packaging.tree_inputs import TreeInputs
from berth.packaging.trees import Head, Trees, encode_classes, to_onnx

if TYPE_CHECKING:
    from lightgbm import Booster

# Operators that compute the predictions from the sum of the leaves, by objective. Berth rejects
# other objectives.
_OPERATORS: dict[str, tuple[str, ...]] = {
    "binary": ("Sigmoid",),
    "cross_entropy": ("Sigmoid",),
    "cross_entropy_lambda": ("Softplus",),
    "custom": (),
    "fair": (),
    "gamma": ("Exp",),
    "huber": (),
    "lambdarank": (),
    "mape": (),
    "multiclass": ("Softmax",),
    "multiclassova": ("Sigmoid",),
    "poisson": ("Exp",),
    "quantile": (),
    "rank_xendcg": (),
    "regression": (),
    "regression_l1": (),
    "tweedie": ("Exp",),
}
_CLASSIFIERS = ("binary", "multiclass", "multiclassova")

# LightGBM truncates a category's fraction: values just above -1 and larger are category 0.
_ABOVE_MINUS_ONE = float(np.nextafter(-1.0, 0.0))

# LightGBM's kZeroThreshold, an FP32 constant. LightGBM treats numbers up to it as 0.
_NEXT_TO_ZERO = float(np.float32(1e-35))


def convert(model: object, rows: Rows | Table) -> Conversion:
    """Convert a `Booster`, a fitted estimator, or the text file of a booster. Inputs are FP64.

    A model that reads a DataFrame has one input per column. An input for a pandas category contains
    the category itself; any other value is a missing value, as in LightGBM.

    The outputs are `label` (the estimator's classes; numbers from 0 for a booster) and
    `probabilities` for the objectives binary, multiclass and multiclassova, and `prediction` for
    other objectives. After early stopping, only the trees up to the best iteration count, as in
    LightGBM.

    Raises:
        PackageError: If it is not a LightGBM model or not fitted, or if ONNX has no operators for
            its trees or objective.
    """
    import lightgbm  # Report a missing package before any other problem.

    del lightgbm
    if isinstance(model, Path):
        numbers = require_single_numeric_array(rows, "LightGBM")
        return convert_in_child_process(convert_in_this_process, model, numbers)
    return convert_in_this_process(model, require_numbers(rows, "LightGBM"))


def convert_in_this_process(model: object, rows: Array | Table) -> Conversion:
    """Convert like `convert`, in this process, which a damaged file may crash."""
    import lightgbm

    try:
        booster = _booster(model)
        dump = booster.dump_model()
    except RecursionError as error:
        raise PackageError(
            "The trees are too deep for Python's recursion limit. Train with a smaller max_depth."
        ) from error
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise PackageError(f"{_name(model)}: not a LightGBM model ({first_line(error)})") from error
    objective, *settings = dump.get("objective", "custom").split()
    if objective not in _OPERATORS or "sqrt" in settings:
        raise PackageError(
            f"objective {' '.join([objective, *settings])}: not supported; supported objectives: "
            f"{', '.join(_OPERATORS)}"
        )
    columns = dump["num_tree_per_iteration"]
    trees = Trees(features=dump["max_feature_idx"] + 1, base=[0.0] * columns, datatype=np.float64)
    scale = next((float(s[8:]) for s in settings if s.startswith("sigmoid:")), 1.0)
    if dump["average_output"]:
        scale *= columns / len(dump["tree_info"])
    for number, tree in enumerate(dump["tree_info"]):
        _read_tree(trees, number, tree["tree_structure"], number % columns, scale)
    classes = None
    if objective in _CLASSIFIERS:
        classes = encode_classes(getattr(model, "classes_", np.arange(max(columns, 2))))
    inputs = _read_inputs(booster, rows, trees.features)
    return Conversion(
        model=to_onnx(trees, Head(_OPERATORS[objective], classes), inputs),
        rows=inputs.feeds(rows, np.float64),
        categories=inputs.by_name(),
        predictions=_predict(model, booster, rows, classes),
        framework="lightgbm",
        framework_version=lightgbm.__version__,
        converter="berth",
    )


def _read_inputs(booster: "Booster", rows: Array | Table, width: int) -> TreeInputs:
    """Return the inputs: one array, or one per column of a table with the trained categories."""
    if not isinstance(rows, Table):
        return TreeInputs(None, width, {})
    columns = rows.columns
    if len(columns) != width:
        raise PackageError(
            f"rows: the DataFrame has {len(columns)} columns; the model has {width} features. Pass "
            "the columns that it was trained on."
        )
    positions = [i for i, column in enumerate(columns) if column.categories is not None]
    trained = booster.pandas_categorical or []
    if len(positions) != len(trained):
        raise PackageError(
            f"rows: the DataFrame has {len(positions)} category columns; the model was trained on "
            f"{len(trained)}. Pass the columns with the types that they had in training."
        )
    return TreeInputs(
        tuple(column.name for column in columns),
        width,
        {position: list(values) for position, values in zip(positions, trained, strict=True)},
    )


def _booster(model: object) -> "Booster":
    import lightgbm
    from sklearn.exceptions import NotFittedError

    if isinstance(model, Path):
        return lightgbm.Booster(model_file=str(model))
    if isinstance(model, lightgbm.Booster):
        return model
    if not isinstance(model, lightgbm.LGBMModel):
        raise PackageError(f"{_name(model)}: the object is not a LightGBM Booster or estimator")
    try:
        return model.booster_
    except NotFittedError as error:
        raise PackageError(f"{_name(model)}: the model is not fitted. Call fit() first.") from error


def _read_tree(trees: Trees, number: int, root: dict[str, Any], column: int, scale: float) -> None:
    """Add one tree from `dump_model` to `trees`. Multiply its leaves by `scale`."""
    pending = [(0, root)]
    spare = 1
    while pending:
        node, entry = pending.pop()
        if "leaf_coeff" in entry:
            raise PackageError(
                "linear_tree: ONNX has no operator for linear leaves. Train without linear_tree."
            )
        if "leaf_value" in entry:
            trees.add_leaf(number, node, column, entry["leaf_value"] * scale)
            continue
        left, right, spare = spare, spare + 1, spare + 2
        pending += [(left, entry["left_child"]), (right, entry["right_child"])]
        feature, threshold = entry["split_feature"], entry["threshold"]
        if entry["missing_type"] == "Zero":
            raise PackageError(
                "zero_as_missing: ONNX supports only NaN as a missing value. Train without it."
            )
        if entry["decision_type"] == "==":
            spare = trees.add_category_split(
                number,
                node,
                feature,
                [int(category) for category in str(threshold).split("||")],
                above=_ABOVE_MINUS_ONE,
                yes=left,
                no=right,
                missing_yes=False,
                spare=spare,
            )
        else:
            # If the training data had no missing values, LightGBM treats NaN as 0.
            nan_is_zero = entry["missing_type"] == "None"
            mode, threshold = _comparison(threshold)
            trees.add_split(
                number,
                node,
                feature,
                mode,
                threshold,
                yes=left,
                no=right,
                missing_yes=threshold >= 0 if nan_is_zero else entry["default_left"],
            )


def _comparison(threshold: float) -> tuple[str, float]:
    """Return the ONNX comparison for a threshold: LightGBM treats numbers close to 0 as 0."""
    if abs(threshold) > _NEXT_TO_ZERO:
        return "BRANCH_LEQ", threshold
    return ("BRANCH_LEQ", _NEXT_TO_ZERO) if threshold >= 0 else ("BRANCH_LT", -_NEXT_TO_ZERO)


def _predict(
    model: Any, booster: "Booster", table: Array | Table, classes: Array | None
) -> dict[str, Array]:
    """Return LightGBM's predictions by output name, from the estimator if there is one."""
    import lightgbm

    rows = table.frame if isinstance(table, Table) else table
    try:
        if isinstance(model, lightgbm.LGBMClassifier) and classes is not None:
            return {"label": model.predict(rows), "probabilities": model.predict_proba(rows)}
        by_estimator = isinstance(model, lightgbm.LGBMModel) and classes is None
        predict = model.predict if by_estimator else booster.predict
        predicted = np.asarray(predict(rows))
    except (lightgbm.basic.LightGBMError, ValueError, TypeError) as error:
        raise PackageError(
            f"{_name(model)}: the model does not accept the rows ({first_line(error)})"
        ) from error
    predicted = predicted.reshape(len(predicted), -1)
    if classes is None:
        return {"prediction": predicted}
    if predicted.shape[1] == 1:
        predicted = np.hstack([1 - predicted, predicted])
    return {"label": classes[predicted.argmax(axis=1)], "probabilities": predicted}


def _name(model: object) -> str:
    return str(model) if isinstance(model, Path) else type(model).__name__
