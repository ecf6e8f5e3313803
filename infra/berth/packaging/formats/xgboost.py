"""XGBoost: a booster, an estimator, or the .json or .ubj file of one."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from berth.packaging.child_process import convert_in_child_process
from berth.packaging.conversion import Conversion
from berth.packaging.errors import PackageError, first_line
from berth.packaging.rows import Array, Rows, require_numbers, require_single_numeric_array
from berth.packaging.tables import Category, Table
from berth.packaging.tree_inputs import TreeInputs
from berth.packaging.trees import Head, Trees, to_onnx

if TYPE_CHECKING:
    from xgboost import Booster

# Operators that compute the predictions from the sum of the leaves, by objective. Berth rejects
# other objectives.
_Operators = tuple[str, ...]
_IDENTITY: _Operators = ()
_LOGISTIC: _Operators = ("Sigmoid",)
_EXPONENTIAL: _Operators = ("Exp",)
_OPERATORS: dict[str, _Operators] = {
    "binary:logistic": _LOGISTIC,
    "binary:logitraw": _IDENTITY,
    "count:poisson": _EXPONENTIAL,
    "multi:softprob": ("Softmax",),
    "rank:map": _IDENTITY,
    "rank:ndcg": _IDENTITY,
    "rank:pairwise": _IDENTITY,
    "reg:absoluteerror": _IDENTITY,
    "reg:gamma": _EXPONENTIAL,
    "reg:logistic": _LOGISTIC,
    "reg:pseudohubererror": _IDENTITY,
    "reg:quantileerror": _IDENTITY,
    "reg:squarederror": _IDENTITY,
    "reg:squaredlogerror": _IDENTITY,
    "reg:tweedie": _EXPONENTIAL,
    "survival:aft": _EXPONENTIAL,
    "survival:cox": _EXPONENTIAL,
}
_CLASSIFIERS = ("binary:logistic", "multi:softprob")
# Functions from the intercept to the initial score: XGBoost stores the intercept as a prediction.
_INTERCEPT_TO_SCORE: dict[_Operators, Callable[[Array], Array]] = {
    _LOGISTIC: lambda value: np.log(value / (1 - value)),
    _EXPONENTIAL: np.log,
}

# The prefix of XGBoost's messages: the time and the source location.
_ORIGIN = re.compile(r"\[\d\d:\d\d:\d\d\] \S+ ")


def convert(model: object, rows: Rows | Table) -> Conversion:
    """Convert a `Booster`, a fitted estimator, or a file of either. Inputs are FP32.

    A model that reads a DataFrame has one input per column. An input for a pandas category contains
    the category itself. NaN and empty text are missing values; any other value is in no set of
    categories, as in XGBoost.

    The outputs are `label` (from 0) and `probabilities` for the objectives binary:logistic and
    multi:softprob, and `prediction` for other objectives. After early stopping, an estimator uses
    the trees up to its best iteration, even if loaded from a file, and a booster uses all trees, as
    in XGBoost.

    Raises:
        PackageError: If it is not an XGBoost model or not fitted, or if ONNX has no operators for
            its trees or objective.
    """
    import xgboost  # Report a missing package before any other problem.

    del xgboost
    if isinstance(model, Path):
        numbers = require_single_numeric_array(rows, "XGBoost")
        return convert_in_child_process(convert_in_this_process, model, numbers)
    return convert_in_this_process(model, require_numbers(rows, "XGBoost"))


def convert_in_this_process(model: object, rows: Array | Table) -> Conversion:
    """Convert like `convert`, in this process, which a damaged file may crash."""
    import xgboost

    try:
        booster = _booster(model)
        learner = json.loads(booster.save_raw("json"))["learner"]
    except (xgboost.core.XGBoostError, ValueError, KeyError) as error:
        raise PackageError(f"{_name(model)}: not an XGBoost model ({_message(error)})") from error
    name = learner["objective"]["name"]
    if name not in _OPERATORS:
        raise PackageError(
            f"objective {name}: not supported; supported objectives: {', '.join(_OPERATORS)}"
        )
    operators = _OPERATORS[name]
    parameters = learner["learner_model_param"]
    columns = max(int(parameters["num_class"]), int(parameters["num_target"]), 1)
    intercept = np.array(json.loads(parameters["base_score"]), np.float64).reshape(-1)
    to_score = _INTERCEPT_TO_SCORE.get(operators)
    with np.errstate(divide="ignore", invalid="ignore"):
        start = to_score(intercept) if to_score else intercept
    if not np.all(np.isfinite(start)):
        raise PackageError(f"base_score {intercept.tolist()}: not valid for objective {name}")
    trees = Trees(
        features=int(parameters["num_feature"]),
        base=np.broadcast_to(start, columns).tolist(),
        datatype=np.float32,
    )
    _read_trees(trees, learner["gradient_booster"])
    classes = np.arange(max(columns, 2)) if name in _CLASSIFIERS else None
    inputs = TreeInputs(None, trees.features, {})
    if isinstance(rows, Table):
        names = tuple(column.name for column in rows.columns)
        categories = _read_categories(learner, rows, trees.features)
        inputs = TreeInputs(names, trees.features, categories, unknown_is_missing=False)
    return Conversion(
        model=to_onnx(trees, Head(operators, classes), inputs),
        rows=inputs.feeds(rows, np.float32),
        categories=inputs.by_name(),
        predictions=_predict(model, booster, rows, is_classifier=classes is not None),
        framework="xgboost",
        framework_version=xgboost.__version__,
        converter="berth",
    )


def _read_categories(learner: dict[str, Any], rows: Table, width: int) -> dict[int, list[Category]]:
    """Return the categories of each column in the order of their codes in the model.

    Raises:
        PackageError: If the columns of `rows` are not those of the model.
    """
    if len(rows.columns) != width:
        raise PackageError(
            f"rows: the DataFrame has {len(rows.columns)} columns; the model has {width} features. "
            "Pass the columns that it was trained on."
        )
    booster = learner["gradient_booster"]
    forest = booster["gbtree"]["model"] if booster["name"] == "dart" else booster["model"]
    encoded = (forest.get("cats") or {}).get("enc") or [{}] * width
    categories: dict[int, list[Category]] = {}
    for position, (column, entry) in enumerate(zip(rows.columns, encoded, strict=True)):
        if column.categories is None:
            continue
        values = entry.get("values") or []
        if "offsets" in entry and values:  # UTF-8 text, one after another.
            text = bytes(value % 256 for value in values)
            ends = entry["offsets"]
            categories[position] = [
                text[start:end].decode() for start, end in itertools.pairwise(ends)
            ]
        else:
            categories[position] = list(values or column.categories)
    return categories


def _booster(model: object) -> "Booster":
    """Return the booster with the trees that the model uses for predictions."""
    import xgboost
    from sklearn.exceptions import NotFittedError

    if isinstance(model, Path):
        booster = xgboost.Booster(model_file=str(model))
        is_estimator = booster.attr("scikit_learn") is not None
    elif isinstance(model, xgboost.XGBModel):
        if not np.isnan(model.missing):
            raise PackageError(
                f"missing={model.missing}: ONNX supports only NaN as a missing value. Train with "
                "NaN, and use NaN in the rows."
            )
        try:
            booster = model.get_booster()
        except NotFittedError as error:
            raise PackageError(
                f"{_name(model)}: the model is not fitted. Call fit() first."
            ) from error
        is_estimator = True
    elif isinstance(model, xgboost.Booster):
        booster, is_estimator = model, False
    else:
        raise PackageError(f"{_name(model)}: the object is not a XGBoost Booster or estimator")
    if is_estimator and booster.attr("best_iteration") is not None:
        return booster[: booster.best_iteration + 1]
    return booster


def _read_trees(trees: Trees, booster: dict[str, Any]) -> None:
    """Add the trees of XGBoost's JSON format to `trees`."""
    kind = booster["name"]
    if kind == "dart":
        forest, weights = booster["gbtree"]["model"], booster["weight_drop"]
    elif kind == "gbtree":
        forest = booster["model"]
        weights = [1.0] * len(forest["trees"])
    else:
        raise PackageError(f"booster {kind}: not supported; supported boosters: gbtree, dart")
    for number, (tree, column, weight) in enumerate(
        zip(forest["trees"], forest["tree_info"], weights, strict=True)
    ):
        if int(tree["tree_param"]["size_leaf_vector"]) > 1:
            raise PackageError(
                "multi_strategy='multi_output_tree': ONNX has no operator for leaves with several "
                "numbers. Train with one_output_per_tree."
            )
        try:
            _read_tree(trees, number, tree, column, weight)
        except IndexError as error:
            raise PackageError(
                f"Tree {number} refers to a node that does not exist. The model is damaged; "
                "save it again."
            ) from error


def _read_tree(trees: Trees, number: int, tree: dict[str, Any], column: int, weight: float) -> None:
    categories = {
        node: tree["categories"][start : start + size]
        for node, start, size in zip(
            tree["categories_nodes"],
            tree["categories_segments"],
            tree["categories_sizes"],
            strict=True,
        )
    }
    spare = len(tree["left_children"])
    pending = [0]  # Follow the root: the lists also contain pruned nodes.
    while pending:
        node = pending.pop()
        left, right = tree["left_children"][node], tree["right_children"][node]
        value, feature = tree["split_conditions"][node], tree["split_indices"][node]
        if left < 0:
            # Multiply in FP32, as XGBoost does for dart.
            trees.add_leaf(number, node, column, float(np.float32(value) * np.float32(weight)))
            continue
        pending += [left, right]
        missing_left = bool(tree["default_left"][node])
        if node in categories:
            spare = trees.add_category_split(
                number,
                node,
                feature,
                categories[node],
                above=0.0,
                yes=right,
                no=left,
                missing_yes=not missing_left,
                spare=spare,
            )
        else:
            trees.add_split(
                number,
                node,
                feature,
                "BRANCH_LT",
                value,
                yes=left,
                no=right,
                missing_yes=missing_left,
            )


def _predict(
    model: object, booster: "Booster", table: Array | Table, *, is_classifier: bool
) -> dict[str, Array]:
    """Return XGBoost's predictions by output name, from the estimator if there is one."""
    import xgboost

    rows = table.frame if isinstance(table, Table) else table
    try:
        if isinstance(model, xgboost.XGBClassifier) and is_classifier:
            return {"label": model.predict(rows), "probabilities": model.predict_proba(rows)}
        if isinstance(model, xgboost.XGBModel) and not is_classifier:
            predicted = model.predict(rows)
        else:
            predicted = booster.predict(
                xgboost.DMatrix(rows, enable_categorical=True)
                if isinstance(table, Table)
                else xgboost.DMatrix(
                    rows,
                    feature_names=booster.feature_names,
                    feature_types=booster.feature_types,
                    enable_categorical=True,
                )
            )
    except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
        raise PackageError(
            f"{_name(model)}: the model does not accept the rows ({_message(error)})"
        ) from error
    predicted = predicted.reshape(len(predicted), -1)
    if not is_classifier:
        return {"prediction": predicted}
    if predicted.shape[1] == 1:
        predicted = np.hstack([1 - predicted, predicted])
    return {"label": predicted.argmax(axis=1), "probabilities": predicted}


def _name(model: object) -> str:
    return str(model) if isinstance(model, Path) else type(model).__name__


def _message(error: Exception) -> str:
    return _ORIGIN.sub("", first_line(error))
