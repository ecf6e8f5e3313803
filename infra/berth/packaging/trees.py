"""Boosted trees as ONNX: one operator that adds the leaves up, then plain ones up to the answers.

Written out here instead of by onnxmltools 1.16, which rounds LightGBM's FP64 thresholds to FP32:
of rows put at thresholds, its models answered 4 to 8 in 100 otherwise, some with another label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from berth.packaging.errors import PackageError
from berth.packaging.opset import INPUT, OPSET
from berth.packaging.rows import Array

if TYPE_CHECKING:
    from onnx import NodeProto

# The IR version that came with OPSET.
_IR_VERSION = 8

SCORES = "scores"
_DAMAGED = "the model is damaged"


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
    """The nodes of an ensemble, tree by tree, the root of each first.

    `features` is the number of input columns, `base` what each score starts from. `datatype` is
    what inputs and thresholds are compared in, FP32 or FP64: as the framework does, since a
    rounded threshold sends rows that lie at it to the other side.

    What is added is checked, because a framework may follow a damaged tree out of its memory.
    `PackageError`: a node is reached twice, or a feature or score is none of the model's.
    """

    features: int
    base: Sequence[float]
    datatype: type[np.float32] | type[np.float64]
    _splits: dict[tuple[int, int], _Split] = field(default_factory=dict)
    _leaves: dict[tuple[int, int], _Leaf] = field(default_factory=dict)

    def leaf(self, tree: int, node: int, column: int, weight: float) -> None:
        """Rows that come here add `weight` to the score `column`."""
        self._new(tree, node)
        if not 0 <= column < len(self.base):
            raise PackageError(
                f"tree {tree} adds to score {column} of {len(self.base)}: {_DAMAGED}"
            )
        self._leaves[tree, node] = _Leaf(tree, node, column, weight)

    def split(
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
        """Rows whose feature compares with `threshold` go to the node `yes`, others to `no`.

        `mode` is the comparison, as ONNX names it (BRANCH_LT: below); NaN goes by `missing_yes`.
        """
        self._new(tree, node)
        if not 0 <= feature < self.features:
            raise PackageError(
                f"tree {tree} asks for feature {feature} of {self.features}: {_DAMAGED}"
            )
        made = _Split(tree, node, feature, mode, threshold, yes, no, missing_yes)
        self._splits[tree, node] = made

    def member(
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
        """Rows whose feature, cut to a whole number, is one of `categories` go to `yes`.

        A chain of thresholds, at which membership changes: onnxruntime takes several ways to one
        node as long as they are the first branch of a split. `above` is the lowest value that is
        cut to category 0. New nodes are numbered from `spare` on; returned is the next free one.
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
            inside = place % 2 == 1
            self.split(
                tree,
                node,
                feature,
                "BRANCH_LT",
                step,
                yes=yes if inside else no,
                no=no if last else spare,
                missing_yes=missing_yes and place == 1,
            )
            if not last:
                node, spare = spare, spare + 1
        return spare

    def _new(self, tree: int, node: int) -> None:
        if (tree, node) in self._leaves or (tree, node) in self._splits:
            raise PackageError(f"tree {tree} comes to node {node} twice: {_DAMAGED}")

    def operator(self) -> "NodeProto":
        """The operator that gives the scores, [rows, one per column]."""
        from onnx import helper

        ends = [
            _Split(leaf.tree, leaf.node, 0, "LEAF", 0.0, yes=0, no=0, missing_yes=False)
            for leaf in self._leaves.values()
        ]
        nodes = sorted([*self._splits.values(), *ends])
        leaves = sorted(self._leaves.values())
        return helper.make_node(
            "TreeEnsembleRegressor",
            [INPUT],
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
    """What becomes of the scores.

    `operators` are applied to them one after the other. With `classes` the result is made into
    `label` and `probabilities`, otherwise it is the `prediction`; one score with two classes is
    the probability of the second.
    """

    operators: tuple[str, ...] = ()
    classes: Array | None = None


def to_onnx(trees: Trees, head: Head) -> bytes:
    """The whole model: rows of `input` in, `label` and `probabilities` or `prediction` out."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [trees.operator()]
    constants = []
    result = SCORES
    for place, operator in enumerate(head.operators):
        nodes.append(_apply(operator, result, f"scores_{place}"))
        result = f"scores_{place}"
    floats, rows = TensorProto.FLOAT, "rows"
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(trees.datatype))
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
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info(INPUT, kind, [rows, trees.features])],
        outputs,
        constants,
    )
    sets = [helper.make_opsetid(*entry) for entry in sorted(OPSET.items())]
    made = helper.make_model(graph, opset_imports=sets, ir_version=_IR_VERSION)
    content: bytes = made.SerializeToString(deterministic=True)
    return content


def _apply(operator: str, given: str, made: str) -> "NodeProto":
    from onnx import helper

    if operator == "Softmax":
        return helper.make_node("Softmax", [given], [made], axis=1)
    return helper.make_node(operator, [given], [made])
