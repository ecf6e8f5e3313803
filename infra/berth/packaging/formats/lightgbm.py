"""LightGBM: a booster or an estimator, or the text file that one was saved to."""

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
    from lightgbm import Booster

# Objective -> how its predictions come from the sum of the leaves. Others are refused.
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

# A category is a number whose fraction is cut off: from just above -1 on it is category 0.
_ABOVE_MINUS_ONE = float(np.nextafter(-1.0, 0.0))

# LightGBM's kZeroThreshold: it is declared as FP32, and numbers up to it count as 0.
_NEXT_TO_ZERO = float(np.float32(1e-35))


def convert(model: object, rows: Rows) -> Converted:
    """A `Booster`, a fitted estimator, or the text file of a booster; numbers go in as FP64.

    Outputs: with the objectives binary, multiclass and multiclassova `label` (the estimator's
    classes; of a booster the numbers from 0) and `probabilities`, with others `prediction`. After
    early stopping the trees up to the best iteration count, as in LightGBM.

    Raises:
        PackageError: not a model of LightGBM, not fitted, or trees or an objective that ONNX has no
            operators for.
    """
    import lightgbm  # that it is missing is told before anything else

    del lightgbm
    numbers = one_of_numbers(rows, "LightGBM")
    if isinstance(model, Path):
        return convert_apart(convert_here, model, numbers)
    return convert_here(model, numbers)


def convert_here(model: object, rows: Array) -> Converted:
    """As `convert`, in this process, which a damaged file may end."""
    import lightgbm

    try:
        booster = _booster(model)
        written = booster.dump_model()
    except RecursionError as error:
        raise PackageError("the trees are deeper than Python reads; set max_depth") from error
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise PackageError(
            f"{_name(model)}: is not a LightGBM model ({first_line(error)})"
        ) from error
    objective, *settings = written.get("objective", "custom").split()
    if objective not in _OPERATORS or "sqrt" in settings:
        raise PackageError(
            f"objective {' '.join([objective, *settings])}: is none of {', '.join(_OPERATORS)}"
        )
    columns = written["num_tree_per_iteration"]
    trees = Trees(
        features=written["max_feature_idx"] + 1, base=[0.0] * columns, datatype=np.float64
    )
    scale = next((float(s[8:]) for s in settings if s.startswith("sigmoid:")), 1.0)
    if written["average_output"]:
        scale *= columns / len(written["tree_info"])
    for number, tree in enumerate(written["tree_info"]):
        _read_tree(trees, number, tree["tree_structure"], number % columns, scale)
    classes = None
    if objective in _CLASSIFIERS:
        classes = _classes(getattr(model, "classes_", np.arange(max(columns, 2))))
    return Converted(
        model=to_onnx(trees, Head(_OPERATORS[objective], classes)),
        rows={INPUT: rows},
        answers=_answers(model, booster, rows, classes),
        framework="lightgbm",
        framework_version=lightgbm.__version__,
        converter="berth",
    )


def _booster(model: object) -> "Booster":
    import lightgbm
    from sklearn.exceptions import NotFittedError

    if isinstance(model, Path):
        return lightgbm.Booster(model_file=str(model))
    if isinstance(model, lightgbm.Booster):
        return model
    if not isinstance(model, lightgbm.LGBMModel):
        raise PackageError(f"{_name(model)}: is no Booster and no estimator of LightGBM")
    try:
        return model.booster_
    except NotFittedError as error:
        raise PackageError(f"{_name(model)}: is not fitted") from error


def _read_tree(trees: Trees, number: int, root: dict[str, Any], column: int, scale: float) -> None:
    """Add one tree, as `dump_model` gives it, to `trees`; its leaves times `scale`."""
    waiting = [(0, root)]
    spare = 1
    while waiting:
        node, found = waiting.pop()
        if "leaf_coeff" in found:
            raise PackageError("linear_tree: leaves with a formula have no operator in ONNX")
        if "leaf_value" in found:
            trees.leaf(number, node, column, found["leaf_value"] * scale)
            continue
        left, right, spare = spare, spare + 1, spare + 2
        waiting += [(left, found["left_child"]), (right, found["right_child"])]
        feature, threshold = found["split_feature"], found["threshold"]
        if found["missing_type"] == "Zero":
            raise PackageError("zero_as_missing: only NaN stands for a missing value in ONNX")
        if found["decision_type"] == "==":
            spare = trees.member(
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
            # Where the training data had no missing value, LightGBM takes NaN for 0.
            as_zero = found["missing_type"] == "None"
            mode, threshold = _compared(threshold)
            trees.split(
                number,
                node,
                feature,
                mode,
                threshold,
                yes=left,
                no=right,
                missing_yes=threshold >= 0 if as_zero else found["default_left"],
            )


def _compared(threshold: float) -> tuple[str, float]:
    """How to compare a number as LightGBM does, which takes those next to 0 for 0."""
    if abs(threshold) > _NEXT_TO_ZERO:
        return "BRANCH_LEQ", threshold
    return ("BRANCH_LEQ", _NEXT_TO_ZERO) if threshold >= 0 else ("BRANCH_LT", -_NEXT_TO_ZERO)


def _classes(classes: Array) -> Array:
    """An estimator's classes as the model gives them: whole numbers, or text."""
    if classes.dtype.kind in "biuf" and np.all(classes == np.floor(classes)):
        return classes.astype(np.int64)
    if classes.dtype.kind in "UO":
        return np.array([str(label) for label in classes], object)
    raise PackageError(f"classes {classes.tolist()}: are neither text nor whole numbers")


def _answers(
    model: Any, booster: "Booster", rows: Array, classes: Array | None
) -> dict[str, Array]:
    """LightGBM's own answers by output name: by the estimator where there is one."""
    import lightgbm

    try:
        if isinstance(model, lightgbm.LGBMClassifier) and classes is not None:
            return {"label": model.predict(rows), "probabilities": model.predict_proba(rows)}
        by_estimator = isinstance(model, lightgbm.LGBMModel) and classes is None
        predict = model.predict if by_estimator else booster.predict
        predicted = np.asarray(predict(rows))
    except (lightgbm.basic.LightGBMError, ValueError, TypeError) as error:
        raise PackageError(
            f"{_name(model)}: does not answer the rows given ({first_line(error)})"
        ) from error
    predicted = predicted.reshape(len(predicted), -1)
    if classes is None:
        return {"prediction": predicted}
    if predicted.shape[1] == 1:
        predicted = np.hstack([1 - predicted, predicted])
    return {"label": classes[predicted.argmax(axis=1)], "probabilities": predicted}


def _name(model: object) -> str:
    return str(model) if isinstance(model, Path) else type(model).__name__
