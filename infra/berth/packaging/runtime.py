"""onnxruntime as the packager uses it: load, describe, run. The final word on a model."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from berth.packaging.errors import PackageError
from berth.packaging.rows import Array
from berth_protocol.model_card import Tensor

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# onnxruntime's names of element types -> Open Inference Protocol datatypes.
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


def check(model: Path) -> None:
    """Hold an ONNX file against ONNX's own checker, shapes and types included.

    Raises:
        PackageError: the checker refuses it.
    """
    import onnx

    try:
        onnx.checker.check_model(str(model), full_check=True)
    except Exception as error:  # ValidationError, InferenceError, DecodeError, OSError …
        raise PackageError(f"ONNX's checker refuses the model: {error}") from error


def load(model: Path, *, optimised: bool = True) -> "InferenceSession":
    """A session on one thread of the CPU; `optimised=False` runs the graph as it is written.

    Raises:
        PackageError: onnxruntime refuses the model, for instance for an operator it lacks.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise PackageError(
            f"onnxruntime {onnxruntime.__version__} cannot load the model: {error}"
        ) from error


def signature(session: "InferenceSession") -> tuple[list[Tensor], list[Tensor]]:
    """The inputs and outputs as the model card gives them; a free dimension is -1.

    Raises:
        PackageError: one of them is no tensor, or of a type that the protocol does not carry.
    """
    return (
        [_tensor("input", value) for value in session.get_inputs()],
        [_tensor("output", value) for value in session.get_outputs()],
    )


def _tensor(role: str, value: Any) -> Tensor:
    if value.type not in DATATYPES:
        hint = ""
        if value.type.startswith("seq(map("):
            hint = "; export the classifier again with zipmap off, so that it gives a tensor"
        raise PackageError(
            f"{role} {value.name!r} is a {value.type}, which the Open Inference Protocol does "
            f"not carry{hint}"
        )
    shape = [size if isinstance(size, int) and size >= 0 else -1 for size in value.shape]
    return Tensor(name=value.name, datatype=DATATYPES[value.type], shape=shape)


def as_input(tensor: Tensor, values: Array) -> Array:
    """`values` in the type that the input takes.

    Raises:
        PackageError: the type cannot hold these values, or the shape does not fit.
    """
    fits = len(values.shape) == len(tensor.shape) and all(
        want in (-1, got) for want, got in zip(tensor.shape, values.shape, strict=True)
    )
    if not fits:
        raise PackageError(
            f"rows for input {tensor.name!r} have shape {list(values.shape)}, "
            f"the model takes {tensor.shape} (-1: any size)"
        )
    text = values.dtype.kind == "O"
    if text or tensor.datatype == "BYTES":
        if not (text and tensor.datatype == "BYTES"):
            raise PackageError(
                f"rows for input {tensor.name!r} are {'text' if text else values.dtype}, "
                f"the model takes {tensor.datatype}"
            )
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(NUMPY_TYPES[tensor.datatype])
    if cast.dtype.kind != "f" and not np.array_equal(cast, values):
        raise PackageError(
            f"rows for input {tensor.name!r} hold values that {tensor.datatype} cannot, "
            f"as {values.dtype} does"
        )
    return cast


def run(session: "InferenceSession", feeds: dict[str, Array]) -> dict[str, Array]:
    """The answers by output name.

    Raises:
        PackageError: onnxruntime cannot run the model on `feeds`.
    """
    names = [value.name for value in session.get_outputs()]
    try:
        answers = session.run(names, feeds)
    except Exception as error:  # as in load
        raise PackageError(f"onnxruntime cannot run the model on the rows: {error}") from error
    return {name: np.asarray(answer) for name, answer in zip(names, answers, strict=True)}
