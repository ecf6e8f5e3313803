"""scikit-learn: a fitted estimator or pipeline, converted with skl2onnx."""

from typing import TYPE_CHECKING, Any

from berth.packaging.conversion import INPUT, OPSET, Conversion
from berth.packaging.errors import PackageError, first_line
from berth.packaging.rows import Array, Rows

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto


def convert(model: object, rows: Rows) -> Conversion:
    """Convert a fitted estimator. It has one input, `input`, with a dynamic number of rows.

    The outputs are `label` and, if available, `probabilities` of a classifier; `prediction` of a
    regressor; `label` of a clusterer; `label` in one column of an outlier detector; `transformed`
    of a transformer. Scores per class (`decision_function`) are not an output. Inputs are FP32 for
    numbers and BYTES for text.

    Raises:
        PackageError: If the estimator is not fitted or does not accept the rows, or if a part of it
            has no converter.
    """
    import skl2onnx
    import sklearn
    from onnx.utils import Extractor
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    if isinstance(rows, dict):
        raise PackageError(
            "rows: a scikit-learn model has one input. Pass one array, not arrays by name."
        )
    predictions = _predict(model, rows)
    is_text = rows.dtype.kind == "O"
    shape = [None, *rows.shape[1:]]
    kind = StringTensorType(shape) if is_text else FloatTensorType(shape)
    try:
        proto = skl2onnx.convert_sklearn(
            model,
            name="model",
            initial_types=[(INPUT, kind)],
            target_opset=OPSET,
            options={"zipmap": False} if "probabilities" in predictions else None,
        )
    except Exception as error:
        raise PackageError(
            f"{type(model).__name__}: skl2onnx cannot convert the model ({first_line(error)})"
        ) from error
    kept = [value.name for value in proto.graph.output][: len(predictions)]
    if len(kept) < len(proto.graph.output):
        proto = Extractor(proto).extract_model([INPUT], kept)
    for old, new in zip(kept, predictions, strict=True):
        _rename(proto.graph, old, new)
    _make_portable(proto)
    return Conversion(
        model=proto.SerializeToString(deterministic=True),
        rows={INPUT: rows if is_text else rows.astype("float32")},
        predictions=predictions,
        framework="scikit-learn",
        framework_version=sklearn.__version__,
        converter=f"skl2onnx {skl2onnx.__version__}",
    )


def _predict(model: Any, rows: Array) -> dict[str, Array]:
    """Return scikit-learn's predictions for the original `rows`, not rounded to FP32, by output."""
    from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
    from sklearn.exceptions import NotFittedError

    try:
        if is_outlier_detector(model):
            return {"label": model.predict(rows).reshape(-1, 1)}
        if is_classifier(model) or is_clusterer(model):
            predictions = {"label": _require_one_label_per_row(model, model.predict(rows))}
            if is_classifier(model) and hasattr(model, "predict_proba"):
                predictions["probabilities"] = model.predict_proba(rows)
            return predictions
        if is_regressor(model):
            predicted = model.predict(rows)
            return {"prediction": predicted.reshape(len(predicted), -1)}
        if hasattr(model, "transform"):
            transformed = model.transform(rows)
            dense = transformed.toarray() if hasattr(transformed, "toarray") else transformed
            return {"transformed": dense}
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


def _require_one_label_per_row(model: object, labels: Array) -> Array:
    if labels.ndim != 1:
        raise PackageError(
            f"{type(model).__name__}: the model returns {labels.shape[1]} labels per row. Package "
            "one model per label."
        )
    return labels


def _rename(graph: "GraphProto", old: str, new: str) -> None:
    """Rename an output. If an inner value has the new name, rename that value too."""
    if old == new:
        return
    names = {old: new, new: f"inner_{new}"}
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for value in graph.output:
        value.name = names.get(value.name, value.name)


def _make_portable(proto: "ModelProto") -> None:
    """Remove what depends on the author or the machine but not on the model.

    Text is converted to lowercase with locale `C`, which every machine has. Small images do not
    have the operator's default, en_US, and could not load the model. Non-ASCII letters therefore
    keep their case; the comparison shows whether that matters.
    """
    from onnx import helper

    proto.ClearField("producer_name")
    proto.ClearField("producer_version")
    proto.ClearField("domain")
    proto.ClearField("doc_string")
    sets = {entry.domain: entry.version for entry in proto.opset_import}
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(*entry) for entry in sorted(sets.items()))
    for node in proto.graph.node:
        if node.op_type == "StringNormalizer" and all(a.name != "locale" for a in node.attribute):
            node.attribute.append(helper.make_attribute("locale", "C"))
