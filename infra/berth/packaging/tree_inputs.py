"""Builds the matrix that trees read: from one input, or from one input per column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from berth.packaging.conversion import INPUT
from berth.packaging.rows import Array
from berth.packaging.tables import Category, Table

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto, ValueInfoProto

_MATRIX = "features"
_ROWS = "rows"

Categories = Mapping[int, Sequence[Category]]
"""Position of a categorical column -> its values, in the order of their codes."""


@dataclass(frozen=True)
class TreeInputs:
    """The inputs of a model of trees.

    The trees read the code of a categorical value. NaN and empty text are missing values.

    Attributes:
        names: Names of the columns, each an input of its own. None for one input with all columns.
        width: Number of columns.
        categories: Columns that are coded here. The values of others are numbers already.
        unknown_is_missing: Whether a value that is not a category is a missing value. Otherwise it
            has the next code, so that it is in no set of categories.
    """

    names: tuple[str, ...] | None
    width: int
    categories: Categories
    unknown_is_missing: bool = True

    def is_text(self, position: int) -> bool:
        """Return whether a column contains text."""
        return any(isinstance(value, str) for value in self.categories.get(position, ()))

    def by_name(self) -> dict[str, list[Category]]:
        """Return the categories by the name of their input, for the model card."""
        names = self.names
        if names is None:
            return {}
        return {names[position]: list(values) for position, values in self.categories.items()}

    def feeds(self, rows: Array | Table, datatype: type[Any]) -> dict[str, Array]:
        """Return `rows` by the name of the input, in the types of the inputs."""
        if not isinstance(rows, Table):
            return {INPUT: rows.astype(datatype)}
        return {
            name: array if array.dtype.kind == "O" else array.astype(self._type(i, datatype))
            for i, (name, array) in enumerate(rows.arrays().items())
        }

    def _type(self, position: int, datatype: type[Any]) -> type[Any]:
        # FP32 cannot represent every whole number that is a category.
        return np.float64 if position in self.categories else datatype

    def build(self, datatype: type[Any]) -> "Graph":
        """Build the part of the graph from the inputs to the matrix."""
        from onnx import TensorProto, helper

        kind = helper.np_dtype_to_tensor_dtype(np.dtype(datatype))
        graph = Graph(kind)
        if self.names is None:
            graph.inputs.append(helper.make_tensor_value_info(INPUT, kind, [_ROWS, self.width]))
            if not self.categories:
                graph.matrix = INPUT
                return graph
        columns = []
        for position in range(self.width):
            if self.names is None:
                name = graph.select_column(position)
            else:
                name = self.names[position]
                of_text = TensorProto.STRING if self.is_text(position) else None
                column_kind = of_text or helper.np_dtype_to_tensor_dtype(
                    np.dtype(self._type(position, datatype))
                )
                graph.inputs.append(helper.make_tensor_value_info(name, column_kind, [_ROWS, 1]))
            if position in self.categories:
                name = graph.encode(
                    name,
                    position,
                    self.categories[position],
                    unknown_is_missing=self.unknown_is_missing,
                )
            columns.append(name)
        graph.nodes.append(helper.make_node("Concat", columns, [_MATRIX], axis=1))
        graph.matrix = _MATRIX
        return graph


class Graph:
    """Inputs, operators and constants that compute the matrix.

    Attributes:
        matrix: Name of the matrix.
    """

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.matrix = ""
        self.inputs: list[ValueInfoProto] = []
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def select_column(self, position: int) -> str:
        """Select a column of the input."""
        from onnx import helper

        index = self._constant(f"position_{position}", np.array([position]))
        return self._add(helper.make_node, "Gather", [INPUT, index], f"column_{position}_", axis=1)

    def encode(
        self,
        source: str,
        position: int,
        values: Sequence[Category],
        *,
        unknown_is_missing: bool,
    ) -> str:
        """Replace each value by its code, as `TreeInputs` describes."""
        from onnx import helper

        codes = [float(code) for code in range(len(values))]
        unknown = float("nan") if unknown_is_missing else float(len(values))
        prefix = f"code_{position}_"
        if any(isinstance(value, str) for value in values):
            keys = [str(value) for value in values]
            empty = [] if "" in keys else [""]
            code = self._add(
                helper.make_node,
                "LabelEncoder",
                [source],
                f"{prefix}found",
                domain="ai.onnx.ml",
                keys_strings=[*keys, *empty],
                values_floats=[*codes, *(float("nan") for _ in empty)],
                default_float=unknown,
            )
            return self._add(helper.make_node, "Cast", [code], prefix, to=self.kind)
        # LabelEncoder compares FP32 numbers only.
        numbers = self._constant(f"{prefix}keys", np.array([float(v) for v in values]))
        exact = self._add(helper.make_node, "Cast", [source], f"{prefix}exact", to=11)  # FP64
        equal = self._add(helper.make_node, "Equal", [exact, numbers], f"{prefix}equal")
        found = self._add(helper.make_node, "Cast", [equal], f"{prefix}found", to=self.kind)
        dtype = np.float32 if self.kind == 1 else np.float64
        weights = np.array([codes, [1.0] * len(codes)], dtype).T
        # A second column counts the matches: 0 for a value that is no category.
        product = self._add(
            helper.make_node,
            "MatMul",
            [found, self._constant(f"{prefix}weights", weights)],
            f"{prefix}both",
        )
        first = self._constant(f"{prefix}0", np.array([0]))
        second = self._constant(f"{prefix}1", np.array([1]))
        code = self._add(helper.make_node, "Gather", [product, first], f"{prefix}code", axis=1)
        count = self._add(helper.make_node, "Gather", [product, second], f"{prefix}n", axis=1)
        known = self._add(helper.make_node, "Cast", [count], f"{prefix}known", to=9)  # BOOL
        missing = self._constant(f"{prefix}nan", np.array([[np.nan]], dtype))
        other = self._constant(f"{prefix}unknown", np.array([[unknown]], dtype))
        is_nan = self._add(helper.make_node, "IsNaN", [exact], f"{prefix}is_nan")
        rest = self._add(helper.make_node, "Where", [is_nan, missing, other], f"{prefix}rest")
        return self._add(helper.make_node, "Where", [known, code, rest], prefix)

    def _constant(self, name: str, array: Array) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def _add(
        self, make: Any, operator: str, sources: list[str], target: str, **options: Any
    ) -> str:
        self.nodes.append(make(operator, sources, [target], **options))
        return target
