"""scikit-learn: a fitted estimator or pipeline, converted with skl2onnx."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from berth.packaging import compare, runtime
from berth.packaging.conversion import INPUT, OPSET, Conversion
from berth.packaging.errors import PackageError, first_line
from berth.packaging.formats import scikit_learn_boosting
from berth.packaging.formats.scikit_learn_graph import (
    finish_graph,
    join_columns,
    round_features,
    suggest_change,
    with_missing_values,
)
from berth.packaging.probes import build_probes
from berth.packaging.rows import Array, Rows
from berth.packaging.tables import Table

if TYPE_CHECKING:
    from onnx import ModelProto

_Run = Callable[[Array | Table], dict[str, Array]]


def convert(model: object, rows: Rows | Table) -> Conversion:
    """Convert a fitted estimator. Numbers of rows are dynamic.

    It has one input, `input`, or one input per column with the column's name if the rows are a
    DataFrame or a matrix of objects. Inputs are BYTES for text, INT64 for whole numbers in a table,
    and FP32 for other numbers, or FP64 if FP32 would give other predictions. Gradient boosting on
    histograms has FP64 inputs.

    The outputs are `label` and, if available, `probabilities` of a classifier; `prediction` of a
    regressor; `label` of a clusterer; `label` in one column of an outlier detector; `transformed`
    of a transformer. A classifier of several labels per row has one column per label. Scores per
    class (`decision_function`) are not an output.

    Predictions are compared for `rows` and for rows with missing and infinite values, unknown
    categories and unusual text, as far as the estimator accepts those.

    Raises:
        PackageError: If the estimator is not fitted or does not accept the rows, if a part of it
            has no converter, or if the converted model would predict differently.
    """
    import skl2onnx
    import sklearn

    if isinstance(rows, dict):
        raise PackageError(
            "rows: a scikit-learn model has one input, or a DataFrame with one input per column. "
            "Pass one array or a DataFrame, not arrays by name."
        )
    predictions = _predict(model, rows)
    probes = list(_predict_probes(model, rows, predictions))
    converter = f"skl2onnx {skl2onnx.__version__}"
    if scikit_learn_boosting.is_supported(model):
        candidates: Iterator[_Candidate] = iter(
            [_Candidate(*scikit_learn_boosting.convert(model, rows))]
        )
        converter = "berth"
    else:
        candidates = _convert_with_skl2onnx(model, rows, predictions)
    problem: PackageError | None = None
    for candidate in candidates:
        try:
            run = candidate.load(rows)
        except PackageError as error:
            problem = problem or error
            continue
        try:
            _compare(run, rows, predictions, probes)
        except PackageError as error:
            problem = error  # A later candidate is more precise.
            continue
        return Conversion(
            model=candidate.model,
            rows=candidate.feeds(rows),
            predictions=predictions,
            framework="scikit-learn",
            framework_version=sklearn.__version__,
            converter=converter,
            categories=candidate.categories,
        )
    assert problem is not None
    raise PackageError(f"{problem} {suggest_change(model, rows)}".strip())


@dataclass(frozen=True)
class _Candidate:
    """A converted model with inputs of certain types.

    Attributes:
        model: Content of model.onnx.
        types: Type of each input.
        categories: Categories of inputs, for the model card.
    """

    model: bytes
    types: dict[str, type[Any]]
    categories: dict[str, list[Any]]

    def load(self, rows: Array | Table) -> _Run:
        """Load the model and check that it runs."""
        session = runtime.load_session(self.model)

        def run(some: Array | Table) -> dict[str, Array]:
            return runtime.run_model(session, self.feeds(some))

        run(rows)
        return run

    def feeds(self, rows: Array | Table) -> dict[str, Array]:
        arrays = rows.arrays() if isinstance(rows, Table) else {INPUT: rows}
        with np.errstate(over="ignore", invalid="ignore"):
            return {
                name: array if array.dtype.kind == "O" else array.astype(self.types[name])
                for name, array in arrays.items()
                if name in self.types
            }


def _convert_with_skl2onnx(
    model: object, rows: Array | Table, predictions: dict[str, Array]
) -> Iterator[_Candidate]:
    """Yield converted models, first with FP32 and then with FP64 inputs."""
    problem: Exception | None = None
    count = 0
    for types, is_matrix in _choose_types(rows):
        try:
            proto = _call_skl2onnx(model, rows, predictions, types, is_matrix=is_matrix)
        except Exception as error:  # skl2onnx raises many types.
            problem = problem or error
            continue
        count += 1
        yield _Candidate(proto.SerializeToString(deterministic=True), types, {})
    if not count:
        assert problem is not None
        raise PackageError(
            f"{type(model).__name__}: skl2onnx cannot convert the model ({first_line(problem)}). "
            f"{suggest_change(model, rows)}".strip()
        ) from problem


def _call_skl2onnx(
    model: object,
    rows: Array | Table,
    predictions: dict[str, Array],
    types: dict[str, type[Any]],
    *,
    is_matrix: bool,
) -> "ModelProto":
    import skl2onnx

    if is_matrix:
        kind = next(iter(types.values()))
        converted_types = [(INPUT, _to_tensor_type(kind, [None, len(types)]))]
    else:
        shape = [None, 1] if isinstance(rows, Table) else [None, *rows.shape[1:]]
        converted_types = [(name, _to_tensor_type(kind, shape)) for name, kind in types.items()]
    with with_missing_values():
        proto = skl2onnx.convert_sklearn(
            model,
            name="model",
            initial_types=converted_types,
            target_opset=OPSET,
            options={"zipmap": False} if "probabilities" in predictions else None,
        )
    if np.float64 in types.values() and "HistGradientBoosting" not in repr(model):
        round_features(proto.graph)
    if is_matrix:
        return join_columns(finish_graph(proto, predictions, {INPUT: kind}), list(types))
    return finish_graph(proto, predictions, types)


def _choose_types(rows: Array | Table) -> Iterator[tuple[dict[str, type[Any]], bool]]:
    """Yield the types of the inputs to try, and whether to join them to one matrix."""
    if not isinstance(rows, Table):
        for number in (str,) if rows.dtype.kind == "O" else (np.float32, np.float64):
            yield {INPUT: number}, False
        return
    kinds = {column.name: column.values.dtype.kind for column in rows.columns}
    seen = []
    for number, whole in (
        (np.float32, np.int64),
        (np.float64, np.int64),
        (np.float32, np.float32),
        (np.float64, np.float64),
    ):
        by_kind = {"O": str, "f": number}
        types = {name: by_kind.get(kind, whole) for name, kind in kinds.items()}
        if types not in seen:
            seen.append(types)
            yield types, False
    if "O" not in kinds.values():
        # An estimator without a ColumnTransformer reads one matrix.
        for number in (np.float32, np.float64):
            yield dict.fromkeys(kinds, number), True


def _to_tensor_type(kind: type[Any], shape: list[int | None]) -> Any:
    from skl2onnx.common import data_types

    types = {
        str: data_types.StringTensorType,
        np.float32: data_types.FloatTensorType,
        np.float64: data_types.DoubleTensorType,
        np.int64: data_types.Int64TensorType,
    }
    return types[kind](shape)


def _compare(
    run: _Run,
    rows: Array | Table,
    predictions: dict[str, Array],
    probes: "list[_PredictedProbe]",
) -> None:
    """Compare the converted model with scikit-learn on all rows.

    Raises:
        PackageError: If predictions differ.
    """
    compare.compare(run(rows), predictions)
    for probe in probes:
        try:
            compare.compare(run(probe.rows), probe.predictions)
        except PackageError as error:
            raise PackageError(f"For rows with {probe.description}: {error}") from error


@dataclass(frozen=True)
class _PredictedProbe:
    description: str
    rows: Array | Table
    predictions: dict[str, Array]


def _predict_probes(
    model: object, rows: Array | Table, predictions: dict[str, Array]
) -> Iterator[_PredictedProbe]:
    """Yield the probes that scikit-learn predicts for."""
    for description, changed in build_probes(rows):
        try:
            predicted = _predict(model, changed)
        except PackageError:
            continue  # scikit-learn rejects such rows, so there is nothing to compare.
        shapes = {name: array.shape[1:] for name, array in predicted.items()}
        if shapes == {name: array.shape[1:] for name, array in predictions.items()}:
            yield _PredictedProbe(description, changed, predicted)


def _predict(model: Any, rows: Array | Table) -> dict[str, Array]:
    """Return scikit-learn's predictions for the original `rows`, not rounded to FP32, by output."""
    from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
    from sklearn.exceptions import NotFittedError

    data = rows.frame if isinstance(rows, Table) else rows
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if is_outlier_detector(model):
                return {"label": model.predict(data).reshape(-1, 1)}
            if is_classifier(model) or is_clusterer(model):
                predictions = {"label": np.asarray(model.predict(data))}
                if is_classifier(model) and hasattr(model, "predict_proba"):
                    predictions["probabilities"] = _stack(model.predict_proba(data))
                return predictions
            if is_regressor(model):
                predicted = model.predict(data)
                return {"prediction": predicted.reshape(len(predicted), -1)}
            if hasattr(model, "transform"):
                transformed = model.transform(data)
                dense = transformed.toarray() if hasattr(transformed, "toarray") else transformed
                return {"transformed": np.asarray(dense)}
    except PackageError:
        raise
    except NotFittedError as error:
        raise PackageError(
            f"{type(model).__name__}: the model is not fitted. Call fit() first."
        ) from error
    except Exception as error:
        raise PackageError(
            f"{type(model).__name__}: the model does not accept the rows ({first_line(error)})"
        ) from error
    raise PackageError(
        f"{type(model).__name__}: the model is not a classifier, regressor, clusterer, outlier "
        "detector or transformer"
    )


def _stack(probabilities: Any) -> Array:
    """Return probabilities as one array: [rows, classes], or [rows, labels, classes].

    Raises:
        PackageError: If the labels of a model have different numbers of classes.
    """
    if not isinstance(probabilities, list):
        return np.asarray(probabilities)
    counts = sorted({array.shape[1] for array in probabilities})
    if len(counts) > 1:
        raise PackageError(
            f"The model's labels have different numbers of classes ({', '.join(map(str, counts))}),"
            " so its probabilities are not one array. Package one model per label."
        )
    return np.stack(probabilities, axis=1)
