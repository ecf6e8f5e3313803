"""Loads, describes and runs models with onnxruntime, which also runs them in a berth."""

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from berth.packaging.errors import PackageError
from berth.packaging.rows import Array
from berth_protocol.model_card import Tensor
from berth_protocol.operators import OperatorsError, find_libraries, find_versions

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
"""Open Inference Protocol datatypes by onnxruntime's name of the element type."""

NUMPY_TYPES: dict[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def check_model(model: Path) -> None:
    """Check an ONNX file with ONNX's own checker, including its shapes and types.

    A shape that the file declares and that differs from the computed one is not an error, because
    onnxruntime ignores it. It shows in the comparison if it matters.

    Raises:
        PackageError: If the checker rejects the file.
    """
    import onnx

    try:
        try:
            onnx.checker.check_model(str(model), full_check=True)
        except onnx.shape_inference.InferenceError:
            onnx.checker.check_model(str(model))
    except Exception as error:  # It raises ValidationError, DecodeError, OSError, ...
        raise PackageError(f"ONNX's checker rejected the model: {error}") from error


def find_operators(model: Path) -> dict[str, str]:
    """Return the version of each library whose operators a model uses; see the model card.

    Raises:
        PackageError: If a library is not installed.
    """
    import onnx

    domains = {entry.domain for entry in onnx.load(model, load_external_data=False).opset_import}
    try:
        return find_versions(domains)
    except OperatorsError as error:
        raise PackageError(str(error)) from error


def load_session(
    model: Path | bytes, *, optimize: bool = True, operators: Mapping[str, str] | None = None
) -> "InferenceSession":
    """Load a model on one CPU thread. With `optimize=False`, the graph runs as it is written.

    Args:
        model: Path or content of model.onnx.
        operators: Libraries to load; see `find_operators`.

    Raises:
        PackageError: If onnxruntime rejects the model, for example for an unknown operator.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for library in find_libraries(operators or {}):
        options.register_custom_ops_library(str(library))
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base class.
        raise PackageError(
            f"onnxruntime {onnxruntime.__version__} cannot load the model: {error}"
        ) from error


# More optional inputs than these are the model's weights: older exporters list them as inputs.
_MAX_OPTIONAL_INPUTS = 16


def read_signature(
    session: "InferenceSession", given: Collection[str] = ()
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the inputs and outputs in model card form. A dynamic dimension is -1.

    An input with a default is optional. If the model has more than 16 of them, they are its
    weights, and only those in `given` are inputs.

    Raises:
        PackageError: If one of them is not a tensor, or has a type that the protocol does not have.
    """
    defaults = session.get_overridable_initializers()
    optional = [
        msgspec.structs.replace(_to_tensor("input", value), optional=True)
        for value in defaults
        if len(defaults) <= _MAX_OPTIONAL_INPUTS or value.name in given
    ]
    return (
        [*(_to_tensor("input", value) for value in session.get_inputs()), *optional],
        [_to_tensor("output", value) for value in session.get_outputs()],
    )


def read_dims(values: Iterable[Any]) -> dict[str, tuple[int | str | None, ...]]:
    """Return the dimensions of a session's inputs or outputs with the names of free ones."""
    return {value.name: tuple(value.shape) for value in values}


def _to_tensor(role: str, value: Any) -> Tensor:
    if value.type not in DATATYPES:
        hint = ""
        if value.type.startswith("seq(map("):
            hint = " Export the classifier again with zipmap turned off, so that it is a tensor."
        raise PackageError(
            f"{role} {value.name!r}: the Open Inference Protocol does not support the type "
            f"{value.type}.{hint}"
        )
    shape = [size if isinstance(size, int) and size >= 0 else -1 for size in value.shape]
    return Tensor(name=value.name, datatype=DATATYPES[value.type], shape=shape)


def cast_to_input(tensor: Tensor, values: Array) -> Array:
    """Convert `values` to the type of an input.

    Raises:
        PackageError: If the type cannot represent these values, or if the shape does not fit.
    """
    fits = len(values.shape) == len(tensor.shape) and all(
        expected in (-1, actual)
        for expected, actual in zip(tensor.shape, values.shape, strict=True)
    )
    if not fits:
        raise PackageError(
            f"rows: the array for input {tensor.name!r} has shape {list(values.shape)}; the model "
            f"expects {tensor.shape} (-1: any size)"
        )
    is_text = values.dtype.kind == "O"
    if is_text or tensor.datatype == "BYTES":
        if not (is_text and tensor.datatype == "BYTES"):
            raise PackageError(
                f"rows: the array for input {tensor.name!r} contains "
                f"{'text' if is_text else values.dtype}; the model expects {tensor.datatype}"
            )
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(NUMPY_TYPES[tensor.datatype])
    if cast.dtype.kind != "f" and not np.array_equal(cast, values):
        raise PackageError(
            f"rows: the array for input {tensor.name!r} contains {values.dtype} values that "
            f"{tensor.datatype} cannot represent"
        )
    return cast


def run_model(session: "InferenceSession", feeds: dict[str, Array]) -> dict[str, Array]:
    """Run the model and return its predictions by output name.

    Raises:
        PackageError: If onnxruntime cannot run the model on `feeds`.
    """
    names = [value.name for value in session.get_outputs()]
    try:
        predictions = session.run(names, feeds)
    except Exception as error:  # onnxruntime's exceptions have no common base class.
        raise PackageError(f"onnxruntime cannot run the model on the rows: {error}") from error
    return {name: np.asarray(value) for name, value in zip(names, predictions, strict=True)}
