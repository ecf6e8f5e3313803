"""scikit-learn: a fitted estimator or pipeline, converted with skl2onnx."""

from typing import TYPE_CHECKING, Any

from berth.packaging.converted import Converted
from berth.packaging.errors import PackageError, first_line
from berth.packaging.opset import INPUT, OPSET
from berth.packaging.rows import Array, Rows

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto


def convert(model: object, rows: Rows) -> Converted:
    """A fitted estimator; its one input is called `input`, its batch dimension is free.

    Outputs: a classifier gives `label` and, when it can, `probabilities`; a regressor
    `prediction`; a clusterer `label`; an outlier detector `label` in one column; a transformer
    `transformed`. A class's own scores (`decision_function`) are not given.
    Numbers go in as FP32, text as BYTES.

    Raises:
        PackageError: not fitted, rows that it does not take, or no converter for a part of it.
    """
    import skl2onnx
    import sklearn
    from onnx.utils import Extractor
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    if isinstance(rows, dict):
        raise PackageError(
            "rows: a scikit-learn model has one input here; give one array, not arrays by name"
        )
    answers = _answers(model, rows)
    text = rows.dtype.kind == "O"
    shape = [None, *rows.shape[1:]]
    kind = StringTensorType(shape) if text else FloatTensorType(shape)
    try:
        proto = skl2onnx.convert_sklearn(
            model,
            name="model",
            initial_types=[(INPUT, kind)],
            target_opset=OPSET,
            options={"zipmap": False} if "probabilities" in answers else None,
        )
    except Exception as error:
        raise PackageError(
            f"{type(model).__name__}: skl2onnx cannot convert it ({first_line(error)})"
        ) from error
    kept = [value.name for value in proto.graph.output][: len(answers)]
    if len(kept) < len(proto.graph.output):
        proto = Extractor(proto).extract_model([INPUT], kept)
    for old, new in zip(kept, answers, strict=True):
        _rename(proto.graph, old, new)
    _make_portable(proto)
    return Converted(
        model=proto.SerializeToString(deterministic=True),
        rows={INPUT: rows if text else rows.astype("float32")},
        answers=answers,
        framework="scikit-learn",
        framework_version=sklearn.__version__,
        converter=f"skl2onnx {skl2onnx.__version__}",
    )


def _answers(model: Any, rows: Array) -> dict[str, Array]:
    """scikit-learn's own answers to `rows` as they are (not rounded to FP32), by output name."""
    from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
    from sklearn.exceptions import NotFittedError

    try:
        if is_outlier_detector(model):
            return {"label": model.predict(rows).reshape(-1, 1)}
        if is_classifier(model) or is_clusterer(model):
            answers = {"label": _one_per_row(model, model.predict(rows))}
            if is_classifier(model) and hasattr(model, "predict_proba"):
                answers["probabilities"] = model.predict_proba(rows)
            return answers
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
        raise PackageError(f"{type(model).__name__}: is not fitted") from error
    except Exception as error:
        raise PackageError(
            f"{type(model).__name__}: does not answer the rows given ({first_line(error)})"
        ) from error
    raise PackageError(
        f"{type(model).__name__}: is no classifier, regressor, clusterer, outlier detector or "
        "transformer"
    )


def _one_per_row(model: object, labels: Array) -> Array:
    if labels.ndim != 1:
        raise PackageError(
            f"{type(model).__name__}: gives {labels.shape[1]} labels per row; "
            "package one model per label"
        )
    return labels


def _rename(graph: "GraphProto", old: str, new: str) -> None:
    """Give an output its name; any inner value of that name makes way."""
    if old == new:
        return
    names = {old: new, new: f"inner_{new}"}
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for value in graph.output:
        value.name = names.get(value.name, value.name)


def _make_portable(proto: "ModelProto") -> None:
    """Drop what differs between makers and machines but says nothing about the model.

    Text is lower-cased by the rules of locale `C`, which every machine has; the operator's own
    default, en_US, is missing from small images, where the model would then not load. Letters
    outside ASCII so keep their case: the comparison shows whether that matters.
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
