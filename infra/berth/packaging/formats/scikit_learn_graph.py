"""Changes to what skl2onnx converts: routing of NaN, names and shapes of outputs, portability."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from berth.packaging.rows import Array
from berth.packaging.tables import Table

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

_TREE_CONVERTERS = ("decision_tree", "gradient_boosting", "isolation_forest", "random_forest")


@contextmanager
def with_missing_values() -> Iterator[None]:
    """Let skl2onnx convert trees exactly: where they send NaN, which skl2onnx 1.20 leaves out.

    Thresholds are for FP32 features: see `round_features`. The trees of scikit-learn learn where to
    send NaN; skl2onnx's models send it to the right child:
    https://github.com/onnx/sklearn-onnx/issues/1253
    """
    from importlib import import_module

    from skl2onnx.common import tree_ensemble

    round_threshold = tree_ensemble.sklearn_threshold

    def round_finite_threshold(value: float, _dtype: Any, mode: str) -> float:
        """Return the FP32 threshold that splits FP32 features in the same way.

        A split that separates only missing values has the threshold infinity.
        """
        return float(round_threshold(value, np.float32, mode)) if math.isfinite(value) else value

    modules: list[Any] = [
        import_module(f"skl2onnx.operator_converters.{name}") for name in _TREE_CONVERTERS
    ]
    add_tree = modules[0].add_tree_to_attribute_pairs
    populate = modules[0].populate_tree_attributes

    def add_tree_with_missing(
        attributes: dict[str, Any], is_classifier: bool, tree: Any, *arguments: Any, **options: Any
    ) -> None:
        start = len(attributes["nodes_modes"])
        add_tree(attributes, is_classifier, tree, *arguments, **options)
        _set_missing(attributes, tree, start)

    def populate_with_missing(model: Any, name: str, dtype: Any) -> dict[str, Any]:
        """Return the attributes of a tree with several labels per row."""
        attributes: dict[str, Any] = populate(model, name, dtype)
        _set_missing(attributes, model.tree_, 0)
        attributes["nodes_values"] = [
            value if mode == "LEAF" else round_finite_threshold(value, dtype, mode)
            for value, mode in zip(
                attributes["nodes_values"], attributes["nodes_modes"], strict=True
            )
        ]
        return attributes

    tree_ensemble.sklearn_threshold = round_finite_threshold
    modules[0].populate_tree_attributes = populate_with_missing
    for module in modules:
        module.add_tree_to_attribute_pairs = add_tree_with_missing
    try:
        yield
    finally:
        tree_ensemble.sklearn_threshold = round_threshold
        modules[0].populate_tree_attributes = populate
        for module in modules:
            module.add_tree_to_attribute_pairs = add_tree


def _set_missing(attributes: dict[str, Any], tree: Any, start: int) -> None:
    nodes = zip(attributes["nodes_modes"][start:], attributes["nodes_nodeids"][start:], strict=True)
    attributes["nodes_missing_value_tracks_true"][start:] = [
        int(mode != "LEAF" and tree.missing_go_to_left[node]) for mode, node in nodes
    ]


def finish_graph(
    proto: "ModelProto", predictions: dict[str, Array], inputs: dict[str, type[Any]]
) -> "ModelProto":
    """Restore the names of inputs, and keep and name the outputs in `predictions`.

    Args:
        inputs: Names and types of the inputs, before skl2onnx replaced characters in them.
    """
    from onnx.utils import Extractor

    for value, name in zip(proto.graph.input, inputs, strict=True):
        _rename(proto.graph, value.name, name)
        value.name = name
    kept = [value.name for value in proto.graph.output][: len(predictions)]
    if len(kept) < len(proto.graph.output):
        proto = Extractor(proto).extract_model(list(inputs), kept)
    for old, new in zip(kept, predictions, strict=True):
        _rename(proto.graph, old, new)
    probabilities = predictions.get("probabilities")
    if probabilities is not None and probabilities.ndim == 3:
        _put_rows_first(proto.graph, probabilities.shape)
    _replace_imputers(proto.graph, np.float64 if np.float64 in inputs.values() else np.float32)
    _make_portable(proto)
    return proto


def round_features(graph: "GraphProto") -> None:
    """Round the FP64 features that trees read to FP32, as scikit-learn does before its trees."""
    from onnx import TensorProto, helper

    nodes = list(graph.node)
    del graph.node[:]
    for index, node in enumerate(nodes):
        if node.op_type.startswith("TreeEnsemble"):
            short, rounded = f"short_{index}", f"rounded_{index}"
            graph.node.append(
                helper.make_node("Cast", [node.input[0]], [short], to=TensorProto.FLOAT)
            )
            graph.node.append(helper.make_node("Cast", [short], [rounded], to=TensorProto.DOUBLE))
            node.input[0] = rounded
        graph.node.append(node)


def join_columns(proto: "ModelProto", columns: list[str]) -> "ModelProto":
    """Replace the only input, a matrix, by one input per column with the same type."""
    from onnx import helper

    (matrix,) = proto.graph.input
    kind, name = matrix.type.tensor_type.elem_type, matrix.name
    _rename(proto.graph, name, "inner_columns")
    del proto.graph.input[:]
    proto.graph.input.extend(
        helper.make_tensor_value_info(column, kind, ["rows", 1]) for column in columns
    )
    proto.graph.node.insert(0, helper.make_node("Concat", columns, ["inner_columns"], axis=1))
    return proto


def _put_rows_first(graph: "GraphProto", shape: tuple[int, ...]) -> None:
    """Turn the probabilities of several labels into an array [rows, labels, classes].

    skl2onnx has them as an array [labels, rows, classes], or as a sequence of arrays.
    """
    from onnx import helper

    (position,) = [i for i, value in enumerate(graph.output) if value.name == "probabilities"]
    kind = graph.output[position].type
    _rename(graph, "probabilities", "inner_by_label")
    if kind.HasField("sequence_type"):
        elements = kind.sequence_type.elem_type.tensor_type.elem_type
        node = helper.make_node(
            "ConcatFromSequence", ["inner_by_label"], ["probabilities"], axis=1, new_axis=1
        )
    else:
        elements = kind.tensor_type.elem_type
        node = helper.make_node("Transpose", ["inner_by_label"], ["probabilities"], perm=[1, 0, 2])
    graph.node.append(node)
    info = helper.make_tensor_value_info("probabilities", elements, ["rows", *shape[1:]])
    graph.output[position].CopyFrom(info)


def _replace_imputers(graph: "GraphProto", kind: type[Any]) -> None:
    """Replace the operators that fill in missing values, of which onnxruntime has no FP64 form."""
    from onnx import helper, numpy_helper

    nodes = list(graph.node)
    del graph.node[:]
    for index, node in enumerate(nodes):
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        values = attributes.get("imputed_value_floats")
        if (
            node.op_type != "Imputer"
            or not values
            or not math.isnan(attributes.get("replaced_value_float", 0.0))
        ):
            graph.node.append(node)
            continue
        missing, fill = f"missing_{index}", f"fill_{index}"
        graph.initializer.append(numpy_helper.from_array(np.array([values], kind), fill))
        graph.node.append(helper.make_node("IsNaN", [node.input[0]], [missing]))
        graph.node.append(
            helper.make_node("Where", [missing, fill, node.input[0]], [node.output[0]])
        )


def _rename(graph: "GraphProto", old: str, new: str) -> None:
    """Rename an input or output. If an inner value has the new name, rename that value too."""
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


_VECTORIZERS = re.compile("TfidfVectorizer|CountVectorizer")


def suggest_change(model: object, rows: Array | Table) -> str:
    """Return the option with which the converted model would predict the same, or ""."""
    text = repr(model)
    hints = []
    if _VECTORIZERS.search(text):
        hints.append(
            "ONNX splits text into ASCII letters, digits and underscores, and changes the case of "
            "ASCII letters only: train the vectorizer with token_pattern='[a-zA-Z0-9_]+'."
        )
    if "HistGradientBoosting" in text and "Pipeline" in type(model).__name__:
        hints.append(
            "Categories of histogram-based gradient boosting are converted only if it is the model "
            "itself: encode them with OneHotEncoder in the pipeline, or package the last step."
        )
    if "isotonic" in text:
        hints.append(
            "Isotonic calibration has steps, where a rounded number falls on the other side: use "
            "method='sigmoid'."
        )
    if re.search("(RandomForest|ExtraTrees)Classifier", text):
        hints.append(
            "If half of the trees vote for each of two classes, rounding decides between the "
            "labels: train with an odd n_estimators."
        )
    if "MLPClassifier" in text:
        hints.append("For several labels per row, train OneVsRestClassifier(MLPClassifier(...)).")
    if isinstance(rows, Table) and "OneHotEncoder" in text:
        hints.append(
            "Train OneHotEncoder with handle_unknown='ignore', and with text or whole numbers as "
            "categories."
        )
    return " ".join(hints)
