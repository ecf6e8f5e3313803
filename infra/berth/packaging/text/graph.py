"""Builds ONNX operators that are valid in every operator set that an export may use."""

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto

OLDEST_OPSET = 11
"""The oldest operator set of a network that can be extended: ONNX 1.6, end of 2019."""

_PREFIX = "berth_"

# The operator set since which an operator's axes are an input instead of an attribute.
_AXES_INPUT = {"Unsqueeze": 13, "ReduceSum": 13, "ReduceMax": 18}


class GraphBuilder:
    """Operators and constants that are added to a graph. Their names start with `berth_`.

    Attributes:
        opset: Version of the ONNX operator set.
        nodes: Operators, in the order in which they run.
        types: Types of tensors that ONNX cannot infer.
        constants: Constants of this graph and of all graphs from `begin_body`.
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self.types: list[ValueInfoProto] = []
        self.constants: list[TensorProto] = []
        self._names = itertools.count()
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def begin_body(self) -> "GraphBuilder":
        """Return a builder for the body of a loop or branch, which can use this graph's tensors."""
        body = GraphBuilder(self.opset)
        body.constants, body._names, body._known = self.constants, self._names, self._known
        return body

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """Add a constant and return its name. Equal constants are added once."""
        from onnx import numpy_helper

        array = np.array(value, object if dtype is str else dtype)
        content = repr(array.tolist()).encode() if dtype is str else array.tobytes()
        key = (str(dtype), array.shape, content)
        if key not in self._known:
            name = self._known[key] = self._name("constant")
            self.constants.append(numpy_helper.from_array(array, name))
        return self._known[key]

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operator and return the name of its only output."""
        from onnx import helper

        name = self._name(operator.lower())
        self.nodes.append(
            helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes)
        )
        return name

    def split(self, value: str, parts: int) -> list[str]:
        """Split the first dimension into `parts` tensors of size 1."""
        from onnx import helper

        names = [self._name("split") for _ in range(parts)]
        count: dict[str, Any] = {"num_outputs": parts} if self.opset >= 18 else {}
        self.nodes.append(helper.make_node("Split", [value], names, axis=0, **count))
        return names

    def reduce(self, operator: str, value: str, axis: int, *, keepdims: bool = False) -> str:
        """Add ReduceSum or ReduceMax over one dimension."""
        return self._add_with_axis(operator, value, axis, keepdims=int(keepdims))

    def unsqueeze(self, value: str, axis: int) -> str:
        """Insert a dimension of size 1."""
        return self._add_with_axis("Unsqueeze", value, axis)

    def _add_with_axis(self, operator: str, value: str, axis: int, **attributes: Any) -> str:
        if self.opset >= _AXES_INPUT[operator]:
            return self.add(operator, value, self.constant([axis]), **attributes)
        return self.add(operator, value, axes=[axis], **attributes)

    def lookup(self, value: str, table: dict[Any, int], default: int) -> str:
        """Replace each element (text or INT64) by its number in `table`."""
        kind = "keys_strings" if isinstance(next(iter(table)), str) else "keys_int64s"
        return self.add(
            "LabelEncoder",
            value,
            domain="ai.onnx.ml",
            values_int64s=list(table.values()),
            default_int64=default,
            **{kind: list(table)},
        )

    def reshape(self, value: str, *shape: int) -> str:
        """Change the shape. -1 is the remaining size."""
        return self.add("Reshape", value, self.constant(shape))

    def size(self, value: str) -> str:
        """Return the size of the first dimension, with shape [1]."""
        return self.add("Gather", self.add("Shape", value), self.constant([0]))

    def count_up(self, stop: str) -> str:
        """Return 0, 1, ... up to `stop`, a tensor with shape [1], exclusively."""
        scalar = self.add("Reshape", stop, self.constant(np.zeros(0)))
        return self.add("Range", self.constant(0), scalar, self.constant(1))

    def equals(self, value: str, number: int) -> str:
        """Compare INT64 elements with a number."""
        return self.add("Equal", value, self.constant(number))

    def slice(self, value: str, start: str, stop: str) -> str:
        """Return the elements from `start` to `stop`, tensors with shape [1]."""
        return self.add("Slice", value, start, stop)

    def to(self, value: str, dtype: Any) -> str:
        """Convert to a numpy type."""
        from onnx import helper

        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.add("Cast", value, to=kind)

    def characters(self, text: str) -> str:
        """Split one text into its characters."""
        return self.reshape(self._tokenize(text, separators=[""]), -1)

    def matches(self, characters: str, pattern: str, example: str) -> str:
        """Return 1 for each character that a regular expression (RE2) matches, else 0.

        Args:
            example: A character that it matches. Without any match, the result has another shape.
        """
        padded = self.add("Concat", characters, self.constant([example], str), axis=0)
        tokens = self.reshape(self._tokenize(padded, tokenexp=pattern), -1)
        found = self.lookup(tokens, {"": 0}, 1)
        return self.slice(found, self.constant([0]), self.size(characters))

    def _tokenize(self, text: str, **options: Any) -> str:
        """Add the Tokenizer that is one of ONNX Runtime's own operators."""
        from onnx import TensorProto, helper

        options |= {"mark": 0, "mincharnum": 1, "pad_value": ""}
        name = self.add("Tokenizer", text, domain="com.microsoft", **options)
        # Without a type, ONNX's shape inference of the next operator crashes (onnx 1.22).
        self.types.append(helper.make_tensor_value_info(name, TensorProto.STRING, [None, None]))
        return name

    def graph(
        self, name: str, inputs: "list[ValueInfoProto]", outputs: "list[ValueInfoProto]"
    ) -> "GraphProto":
        """Return the operators as the body of a loop or branch."""
        from onnx import helper

        return helper.make_graph(self.nodes, name, inputs, outputs, value_info=self.types)

    def _name(self, kind: str) -> str:
        return f"{_PREFIX}{kind}_{next(self._names)}"
