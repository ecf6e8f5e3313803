"""XGBoost: a booster or an estimator, or the .json or .ubj file that one was saved to."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from berth.packaging.apart import convert_apart
from berth.packaging.converted import Converted
from berth.packaging.errors import PackageError, first_line
from berth.packaging.opset import INPUT
from berth.packaging.rows import Array, Rows, one_of_numbers
from berth.packaging.trees import Head, Trees, to_onnx

if TYPE_CHECKING:
    from xgboost import Booster

# Objective -> how its predictions come from the sum of the leaves. Others are refused.
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
# The way back, because XGBoost stores the intercept, where that sum starts, as a prediction.
_INTERCEPT_TO_SCORE: dict[_Operators, Callable[[Array], Array]] = {
    _LOGISTIC: lambda value: np.log(value / (1 - value)),
    _EXPONENTIAL: np.log,
}

# What XGBoost puts before its messages: the time, and where in its source.
_ORIGIN = re.compile(r"\[\d\d:\d\d:\d\d\] \S+ ")


def convert(model: object, rows: Rows) -> Converted:
    """A `Booster`, a fitted estimator, or a file saved by either; numbers go in as FP32.

    Outputs: with the objectives binary:logistic and multi:softprob `label` (from 0) and
    `probabilities`, with others `prediction`. Early stopping counts, as in XGBoost: an estimator
    answers from its best iteration, also after its file was loaded, a booster from all.

    Raises:
        PackageError: not a model of XGBoost, not fitted, or trees or an objective that ONNX has no
            operators for.
    """
    import xgboost  # that it is missing is told before anything else

    del xgboost
    numbers = one_of_numbers(rows, "XGBoost")
    if isinstance(model, Path):
        return convert_apart(convert_here, model, numbers)
    return convert_here(model, numbers)


def convert_here(model: object, rows: Array) -> Converted:
    """As `convert`, in this process, which a damaged file may end."""
    import xgboost

    try:
        booster = _booster(model)
        written = json.loads(booster.save_raw("json"))["learner"]
    except (xgboost.core.XGBoostError, ValueError, KeyError) as error:
        raise PackageError(f"{_name(model)}: is not an XGBoost model ({_said(error)})") from error
    name = written["objective"]["name"]
    if name not in _OPERATORS:
        raise PackageError(f"objective {name}: is none of {', '.join(_OPERATORS)}")
    operators = _OPERATORS[name]
    parameters = written["learner_model_param"]
    columns = max(int(parameters["num_class"]), int(parameters["num_target"]), 1)
    intercept = np.array(json.loads(parameters["base_score"]), np.float64).reshape(-1)
    to_score = _INTERCEPT_TO_SCORE.get(operators)
    with np.errstate(divide="ignore", invalid="ignore"):
        start = to_score(intercept) if to_score else intercept
    if not np.all(np.isfinite(start)):
        raise PackageError(f"base_score {intercept.tolist()}: does not suit objective {name}")
    trees = Trees(
        features=int(parameters["num_feature"]),
        base=np.broadcast_to(start, columns).tolist(),
        datatype=np.float32,
    )
    _read_trees(trees, written["gradient_booster"])
    classes = np.arange(max(columns, 2)) if name in _CLASSIFIERS else None
    return Converted(
        model=to_onnx(trees, Head(operators, classes)),
        rows={INPUT: rows},
        answers=_answers(model, booster, rows, classifies=classes is not None),
        framework="xgboost",
        framework_version=xgboost.__version__,
        converter="berth",
    )


def _booster(model: object) -> "Booster":
    """The booster with the trees that its owner answers from."""
    import xgboost
    from sklearn.exceptions import NotFittedError

    if isinstance(model, Path):
        booster = xgboost.Booster(model_file=str(model))
        of_estimator = booster.attr("scikit_learn") is not None
    elif isinstance(model, xgboost.XGBModel):
        if not np.isnan(model.missing):
            raise PackageError(
                f"missing={model.missing}: only NaN stands for a missing value in ONNX; train "
                "with that, and have the rows hold NaN"
            )
        try:
            booster = model.get_booster()
        except NotFittedError as error:
            raise PackageError(f"{_name(model)}: is not fitted") from error
        of_estimator = True
    elif isinstance(model, xgboost.Booster):
        booster, of_estimator = model, False
    else:
        raise PackageError(f"{_name(model)}: is no Booster and no estimator of XGBoost")
    if of_estimator and booster.attr("best_iteration") is not None:
        return booster[: booster.best_iteration + 1]
    return booster


def _read_trees(trees: Trees, written: dict[str, Any]) -> None:
    """Add XGBoost's trees, as `save_model` writes them to JSON, to `trees`."""
    kind = written["name"]
    if kind == "dart":
        forest, weights = written["gbtree"]["model"], written["weight_drop"]
    elif kind == "gbtree":
        forest = written["model"]
        weights = [1.0] * len(forest["trees"])
    else:
        raise PackageError(f"booster {kind}: is none of gbtree, dart")
    for number, (tree, column, weight) in enumerate(
        zip(forest["trees"], forest["tree_info"], weights, strict=True)
    ):
        if int(tree["tree_param"]["size_leaf_vector"]) > 1:
            raise PackageError(
                "multi_strategy='multi_output_tree': leaves of several numbers have no operator "
                "in ONNX; train with one_output_per_tree"
            )
        try:
            _read_tree(trees, number, tree, column, weight)
        except IndexError as error:
            raise PackageError(f"tree {number} leads out of itself: it is damaged") from error


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
    waiting = [0]  # only what the root leads to: pruned nodes stay in the lists
    while waiting:
        node = waiting.pop()
        left, right = tree["left_children"][node], tree["right_children"][node]
        value, feature = tree["split_conditions"][node], tree["split_indices"][node]
        if left < 0:
            # In FP32 as XGBoost multiplies, for dart.
            trees.leaf(number, node, column, float(np.float32(value) * np.float32(weight)))
            continue
        waiting += [left, right]
        missing_left = bool(tree["default_left"][node])
        if node in categories:
            spare = trees.member(
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
            trees.split(
                number,
                node,
                feature,
                "BRANCH_LT",
                value,
                yes=left,
                no=right,
                missing_yes=missing_left,
            )


def _answers(
    model: object, booster: "Booster", rows: Array, *, classifies: bool
) -> dict[str, Array]:
    """XGBoost's own answers by output name: by the estimator where there is one."""
    import xgboost

    try:
        if isinstance(model, xgboost.XGBClassifier) and classifies:
            return {"label": model.predict(rows), "probabilities": model.predict_proba(rows)}
        if isinstance(model, xgboost.XGBModel) and not classifies:
            predicted = model.predict(rows)
        else:
            predicted = booster.predict(
                xgboost.DMatrix(
                    rows,
                    feature_names=booster.feature_names,
                    feature_types=booster.feature_types,
                    enable_categorical=True,
                )
            )
    except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
        raise PackageError(
            f"{_name(model)}: does not answer the rows given ({_said(error)})"
        ) from error
    predicted = predicted.reshape(len(predicted), -1)
    if not classifies:
        return {"prediction": predicted}
    if predicted.shape[1] == 1:
        predicted = np.hstack([1 - predicted, predicted])
    return {"label": predicted.argmax(axis=1), "probabilities": predicted}


def _name(model: object) -> str:
    return str(model) if isinstance(model, Path) else type(model).__name__


def _said(error: Exception) -> str:
    return _ORIGIN.sub("", first_line(error))
