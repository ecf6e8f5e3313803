"""Compares the signature that MLflow recorded with the inputs of the packaged model."""

from collections.abc import Sequence
from typing import Any

from berth.packaging.errors import PackageError
from berth_protocol.model_card import Tensor


def check_signature(recorded: Sequence[dict[str, Any]], inputs: Sequence[Tensor]) -> None:
    """Check that clients of the model in MLflow can send the same inputs to the packaged one.

    The outputs are not compared: the signature describes what `predict` of MLflow returns, such as
    only labels, while the packaged model returns all outputs of the graph.

    Args:
        recorded: Columns or tensors of the signature. Empty if the model has none.

    Raises:
        PackageError: If the number, the names or the kinds of the inputs differ.
    """
    if not recorded:
        return
    problem = (
        _compare_tensors(recorded, inputs)
        if all(entry.get("type") == "tensor" for entry in recorded)
        else _compare_columns(recorded, inputs)
    )
    if problem:
        raise PackageError(
            f"The packaged model does not fit the signature that MLflow recorded: {problem}. "
            "Nothing was packaged; check that the model was logged with its own signature."
        )


def _compare_tensors(recorded: Sequence[dict[str, Any]], inputs: Sequence[Tensor]) -> str:
    if len(recorded) != len(inputs):
        return f"it has {len(recorded)} tensors, the model {len(inputs)} inputs"
    by_name = {tensor.name: tensor for tensor in inputs}
    for entry in recorded:
        name = entry.get("name")
        tensor = inputs[0] if len(inputs) == 1 else by_name.get(str(name))
        if tensor is None:
            return f"the model has no input {name!r}; it has {', '.join(by_name)}"
        spec = entry.get("tensor-spec", {})
        shape, kind = spec.get("shape", []), _find_kind(str(spec.get("dtype", "")))
        fits = len(shape) == len(tensor.shape) and all(
            a == b or -1 in (a, b) for a, b in zip(shape, tensor.shape, strict=True)
        )
        if not fits or kind != _kind_of(tensor):
            return (
                f"tensor {name or tensor.name!r} is {spec.get('dtype')} {shape}, the input "
                f"{tensor.name!r} is {tensor.datatype} {tensor.shape}"
            )
    return ""


def _compare_columns(recorded: Sequence[dict[str, Any]], inputs: Sequence[Tensor]) -> str:
    kinds = {str(entry.get("name")): _find_kind(str(entry.get("type"))) for entry in recorded}
    if len(inputs) == 1 and len(inputs[0].shape) == 2 and inputs[0].name not in kinds:
        width = inputs[0].shape[1]
        text = [name for name, kind in kinds.items() if kind != _kind_of(inputs[0])]
        if width not in (-1, len(recorded)) or text:
            return (
                f"it has {len(recorded)} columns ({', '.join(kinds)}), the input "
                f"{inputs[0].name!r} is {inputs[0].datatype} {inputs[0].shape}"
            )
        return ""
    ours = {tensor.name: _kind_of(tensor) for tensor in inputs if not tensor.optional}
    if ours != {name: kind for name, kind in kinds.items() if name in ours}:
        return f"its columns are {kinds}, the inputs {ours}"
    return ""


def _find_kind(dtype: str) -> str:
    """Return `text` or `number` for a type of a signature."""
    return "text" if dtype in ("string", "str", "object", "binary") else "number"


def _kind_of(tensor: Tensor) -> str:
    return "text" if tensor.datatype == "BYTES" else "number"
