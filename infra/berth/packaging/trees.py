"""Converts boosted trees to ONNX: one operator sums the leaves, others compute the predictions.

Berth does not use onnxmltools 1.16, because it rounds LightGBM's FP64 thresholds to FP32: of rows
at thresholds, its models predicted 4 to 8 in 100 differently, some with another label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from berth.packaging.conversion import OPSET
from berth.packaging.errors import PackageError
from berth.packaging.rows import Array
from berth.packaging.tree_inputs import TreeInputs

if TYPE_CHECKING:
    from onnx import NodeProto

# The IR version that belongs to OPSET.
_IR_VERSION = 8

SCORES = "scores"
_DAMAGED = "The model is damaged; save it again."


class _Split(NamedTuple):
    tree: int
    node: int
    feature: int
    mode: str
    threshold: float
    yes: int
    no: int
    missing_yes: bool


class _Leaf(NamedTuple):
    tree: int
    node: int
    column: int
    weight: float


@dataclass
class Trees:
    """The nodes of an ensemble, tree by tree, starting with the root of each tree.

    Every added node is checked, because a framework could follow a damaged tree out of its memory.
    The methods raise PackageError if a node exists twice, or if the model has no such feature or
    score.

    Attributes:
        features: Number of input columns.
        base: Initial value of each score.
        datatype: Type in which inputs and thresholds are compared, as in the framework: FP32 or
            FP64. A rounded threshold would send rows with that value to the other child.
    """

    features: int
    base: Sequence[float]
    datatype: type[np.float32] | type[np.float64]
    _splits: dict[tuple[int, int], _Split] = field(default_factory=dict)
    _leaves: dict[tuple[int, int], _Leaf] = field(default_factory=dict)

    def add_leaf(self, tree: int, node: int, column: int, weight: float) -> None:
        """Add a leaf that adds `weight` to the score `column`."""
        self._check_new(tree, node)
        if not 0 <= column < len(self.base):
            raise PackageError(
                f"Tree {tree} refers to score {column} of {len(self.base)}. {_DAMAGED}"
            )
        self._leaves[tree, node] = _Leaf(tree, node, column, weight)

    def add_split(
        self,
        tree: int,
        node: int,
        feature: int,
        mode: str,
        threshold: float,
        *,
        yes: int,
        no: int,
        missing_yes: bool,
    ) -> None:
        """Add a split: rows whose comparison is true continue at node `yes`, others at `no`.

        Args:
            mode: ONNX's name of the comparison with `threshold`, such as BRANCH_LT for "less than".
            missing_yes: If True, rows with NaN continue at `yes`.
        """
        self._check_new(tree, node)
        if not 0 <= feature < self.features:
            raise PackageError(
                f"Tree {tree} refers to feature {feature} of {self.features}. {_DAMAGED}"
            )
        self._splits[tree, node] = _Split(
            tree, node, feature, mode, threshold, yes, no, missing_yes
        )

    def add_category_split(
        self,
        tree: int,
        node: int,
        feature: int,
        categories: Sequence[int],
        *,
        above: float,
        yes: int,
        no: int,
        missing_yes: bool,
        spare: int,
    ) -> int:
        """Add splits: rows whose truncated feature is one of `categories` continue at `yes`.

        The splits are a chain of the thresholds at which membership changes. onnxruntime accepts
        several paths to a node if they are the first branch of a split.

        Args:
            above: Lowest value that is truncated to category 0.
            spare: Number of the first new node.

        Returns:
            The next unused node number.
        """
        steps: list[float] = []
        for category in sorted(categories):
            start = above if category == 0 else float(category)
            if steps and steps[-1] == start:
                steps.pop()
            else:
                steps.append(start)
            steps.append(category + 1.0)
        for place, step in enumerate(steps):
            last = place == len(steps) - 1
            is_member = place % 2 == 1
            self.add_split(
                tree,
                node,
                feature,
                "BRANCH_LT",
                step,
                yes=yes if is_member else no,
                no=no if last else spare,
                missing_yes=missing_yes and place == 1,
            )
            if not last:
                node, spare = spare, spare + 1
        return spare

    def _check_new(self, tree: int, node: int) -> None:
        if (tree, node) in self._leaves or (tree, node) in self._splits:
            raise PackageError(f"Tree {tree} contains node {node} twice. {_DAMAGED}")

    def build_operator(self, matrix: str) -> "NodeProto":
        """Build the operator that computes the scores, with shape [rows, scores].

        Args:
            matrix: Name of the matrix of features.
        """
        from onnx import helper

        leaf_nodes = [
            _Split(leaf.tree, leaf.node, 0, "LEAF", 0.0, yes=0, no=0, missing_yes=False)
            for leaf in self._leaves.values()
        ]
        nodes = sorted([*self._splits.values(), *leaf_nodes])
        leaves = sorted(self._leaves.values())
        return helper.make_node(
            "TreeEnsembleRegressor",
            [matrix],
            [SCORES],
            domain="ai.onnx.ml",
            n_targets=len(self.base),
            aggregate_function="SUM",
            nodes_treeids=[node.tree for node in nodes],
            nodes_nodeids=[node.node for node in nodes],
            nodes_featureids=[node.feature for node in nodes],
            nodes_modes=[node.mode for node in nodes],
            nodes_truenodeids=[node.yes for node in nodes],
            nodes_falsenodeids=[node.no for node in nodes],
            nodes_missing_value_tracks_true=[int(node.missing_yes) for node in nodes],
            target_treeids=[leaf.tree for leaf in leaves],
            target_nodeids=[leaf.node for leaf in leaves],
            target_ids=[leaf.column for leaf in leaves],
            **self._numbers("nodes_values", [node.threshold for node in nodes]),
            **self._numbers("target_weights", [leaf.weight for leaf in leaves]),
            **self._numbers("base_values", list(self.base)),
        )

    def _numbers(self, name: str, values: list[float]) -> "dict[str, Any]":
        from onnx import numpy_helper

        exact = np.array(values, self.datatype)
        if self.datatype is np.float32:
            return {name: exact.tolist()}
        return {f"{name}_as_tensor": numpy_helper.from_array(exact, name)}


@dataclass(frozen=True)
class Head:
    """The computation from scores to predictions.

    Attributes:
        operators: Operators that are applied to the scores in this order.
        classes: Classes of a classifier, which returns `label` and `probabilities`. A single score
            is then the probability of the second class. If None, the output is `prediction`.
    """

    operators: tuple[str, ...] = ()
    classes: Array | None = None


def to_onnx(trees: Trees, head: Head, inputs: TreeInputs | None = None) -> bytes:
    """Build the model, from its inputs to `label` and `probabilities` or to `prediction`.

    Args:
        inputs: Defaults to one input, `input`, without categories.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = (inputs or TreeInputs(None, trees.features, {})).build(trees.datatype)
    nodes = [*graph.nodes, trees.build_operator(graph.matrix)]
    constants = graph.constants
    result = SCORES
    for place, operator in enumerate(head.operators):
        nodes.append(_apply(operator, result, f"scores_{place}"))
        result = f"scores_{place}"
    floats, rows = TensorProto.FLOAT, "rows"
    if head.classes is None:
        nodes.append(helper.make_node("Identity", [result], ["prediction"]))
        outputs = [helper.make_tensor_value_info("prediction", floats, [rows, len(trees.base)])]
    else:
        if len(trees.base) == 1:
            constants.append(numpy_helper.from_array(np.ones(1, np.float32), "one"))
            nodes.append(helper.make_node("Sub", ["one", result], ["other"]))
            nodes.append(helper.make_node("Concat", ["other", result], ["probabilities"], axis=1))
        else:
            nodes.append(helper.make_node("Identity", [result], ["probabilities"]))
        nodes.append(helper.make_node("ArgMax", ["probabilities"], ["best"], axis=1, keepdims=0))
        constants.append(numpy_helper.from_array(head.classes, "classes"))
        nodes.append(helper.make_node("Gather", ["classes", "best"], ["label"]))
        outputs = [
            helper.make_tensor_value_info("label", constants[-1].data_type, [rows]),
            helper.make_tensor_value_info("probabilities", floats, [rows, len(head.classes)]),
        ]
    proto = helper.make_graph(nodes, "model", graph.inputs, outputs, constants)
    sets = [helper.make_opsetid(*entry) for entry in sorted(OPSET.items())]
    model = helper.make_model(proto, opset_imports=sets, ir_version=_IR_VERSION)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _apply(operator: str, source: str, target: str) -> "NodeProto":
    from onnx import helper

    if operator == "Softmax":
        return helper.make_node("Softmax", [source], [target], axis=1)
    return helper.make_node(operator, [source], [target])


def encode_classes(classes: Array) -> Array:
    """Convert an estimator's classes to integers or text.

    Raises:
        PackageError: If they are other numbers.
    """
    if classes.dtype.kind in "biuf" and np.all(classes == np.floor(classes)):
        return classes.astype(np.int64)
    if classes.dtype.kind in "UO":
        return np.array([str(label) for label in classes], object)
    raise PackageError(
        f"classes {classes.tolist()}: not supported. Use text or integers as classes."
    )
