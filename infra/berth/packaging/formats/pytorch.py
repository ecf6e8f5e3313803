"""PyTorch: a module or an exported program (.pt2), converted with torch.onnx."""

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from berth.packaging.conversion import OPSET, Conversion
from berth.packaging.errors import PackageError, first_line
from berth.packaging.rows import Array, Rows
from berth.packaging.torch_archive import read_program

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor
    from torch.export import ExportedProgram

# The type of a module's inputs by the kind of the rows' type. Defaults to INT64.
_MODULE_TYPES: dict[str, type[np.generic]] = {"f": np.float32, "b": np.bool_}

# torch.export would treat the size of a single row as fixed.
_EXPORT_ROWS = 2


def convert(model: object, rows: Rows) -> Conversion:
    """Convert a `torch.nn.Module`, an `ExportedProgram`, or the .pt2 file of a program.

    Inputs have the names of the arguments of `forward`. A program keeps its shapes; a module gets a
    dynamic number of rows. The outputs are `output`, or `output_0`, `output_1`, ..., or the keys of
    a mapping. Inputs have the program's types; a module's inputs are FP32 or INT64.

    Raises:
        PackageError: If the model does not accept the rows, a part cannot be exported, or the file
            could run code.
    """
    import torch

    if isinstance(model, torch.nn.Module):
        return convert_module(model, rows, dynamic={})
    with torch.no_grad(), _suppress_messages():
        program = _load_program(model)
        inputs = _build_program_inputs(program, rows)
        arguments = _build_arguments(program, inputs)
        if isinstance(model, Path):
            program.example_inputs = arguments  # Berth never reads those of a file.
        return _build_conversion(program, inputs, _run(program.module(), *arguments))


def convert_module(model: Any, rows: Rows, *, dynamic: Mapping[str, tuple[int, ...]]) -> Conversion:
    """Convert a module.

    Args:
        dynamic: Dynamic dimensions of an input by name. Defaults to the first dimension.

    Raises:
        PackageError: For the same reasons as `convert`.
    """
    import torch

    with torch.no_grad(), _suppress_messages():
        inputs = _build_module_inputs(model.eval(), rows)
        predictions = _run(model, (), inputs)
        return _build_conversion(_export(model, inputs, dynamic), inputs, predictions)


def predict_with_module(model: Any, rows: Rows) -> dict[str, Array]:
    """Return a module's predictions by output name.

    Raises:
        PackageError: If the module does not accept the rows.
    """
    import torch

    with torch.no_grad(), _suppress_messages():
        return _run(model, (), _build_module_inputs(model.eval(), rows))


def _build_conversion(
    program: "ExportedProgram", inputs: "dict[str, Tensor]", predictions: dict[str, Array]
) -> Conversion:
    import onnxscript
    import torch

    return Conversion(
        model=_to_onnx(program, list(inputs), list(predictions)),
        rows={name: value.numpy() for name, value in inputs.items()},
        predictions=predictions,
        framework="pytorch",
        framework_version=torch.__version__.partition("+")[0],
        converter=f"torch.onnx, onnxscript {onnxscript.__version__}",
    )


def _load_program(model: object) -> "ExportedProgram":
    import torch

    if isinstance(model, Path):
        return read_program(model)
    if isinstance(model, torch.export.ExportedProgram):
        return model
    raise PackageError(
        f"{type(model).__name__}: the object is not a torch.nn.Module or ExportedProgram. A "
        "state_dict by itself contains no operators."
    )


def _build_module_inputs(model: Any, rows: Rows) -> "dict[str, Tensor]":
    """Convert `rows` to tensors by argument of `forward`."""
    import torch

    arguments = list(inspect.signature(model.forward).parameters)
    named = _name_rows(rows, arguments[:1])
    if unknown := [name for name in named if name not in arguments]:
        raise PackageError(
            f"rows: forward has no argument {', '.join(unknown)}; its arguments are "
            f"{', '.join(arguments)}"
        )
    return {
        name: torch.from_numpy(
            np.ascontiguousarray(values, _MODULE_TYPES.get(values.dtype.kind, np.int64))
        )
        for name, values in named.items()
    }


def _build_program_inputs(program: "ExportedProgram", rows: Rows) -> "dict[str, Tensor]":
    """Convert `rows` to tensors by input of the program, with the types of its inputs."""
    import torch

    types = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs:
            if not isinstance(node.meta["val"], torch.Tensor):
                raise PackageError(
                    f"The program's input {node.name} is not a tensor. Export it "
                    "without this input."
                )
            types[node.name] = node.meta["val"].dtype
    named = _name_rows(rows, list(types))
    if named.keys() != types.keys():
        raise PackageError(
            f"rows: they have the names {', '.join(named)}; the program's inputs are "
            f"{', '.join(types)}"
        )
    return {name: torch.from_numpy(np.array(named[name])).to(types[name]) for name in types}


def _build_arguments(
    program: "ExportedProgram", inputs: "dict[str, Tensor]"
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return `inputs` as positional and keyword arguments, as in the call that was exported."""
    from torch.utils._pytree import tree_unflatten

    try:
        positional, named = tree_unflatten(list(inputs.values()), program.call_spec.in_spec)
    except ValueError as error:
        raise PackageError(
            "The program has arguments that are not tensors. Export it without them."
        ) from error
    return positional, named


def _name_rows(rows: Rows, inputs: list[str]) -> dict[str, Array]:
    if not isinstance(rows, dict):
        if len(inputs) != 1:
            raise PackageError(f"rows: pass an array for each of {', '.join(inputs)} by name")
        rows = {inputs[0]: rows}
    for name, values in rows.items():
        if values.dtype.kind not in "biuf":
            raise PackageError(
                f"rows {name!r}: they contain text, but a PyTorch model accepts only numbers"
            )
    return rows


def _run(module: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Array]:
    """Return PyTorch's predictions by output name."""
    import torch

    try:
        result = module(*positional, **named)
    except Exception as error:  # A module may raise any error.
        raise PackageError(
            f"{type(module).__name__}: the model does not accept the rows ({first_line(error)})"
        ) from error
    if isinstance(result, Mapping):
        predictions = {str(name): value for name, value in result.items()}
    elif isinstance(result, tuple | list) and len(result) > 1:
        predictions = {f"output_{place}": value for place, value in enumerate(result)}
    else:
        predictions = {
            "output": result[0] if isinstance(result, tuple | list) and result else result
        }
    if not all(isinstance(value, torch.Tensor) for value in predictions.values()):
        raise PackageError(
            f"{type(module).__name__}: forward must return a tensor, several tensors, or a "
            "mapping of tensors"
        )
    return {name: value.numpy() for name, value in predictions.items()}


def _export(
    model: Any, inputs: "dict[str, Tensor]", dynamic: Mapping[str, tuple[int, ...]]
) -> "ExportedProgram":
    """Export the module as a program with a dynamic number of rows and `dynamic` dimensions."""
    import torch

    example = {name: _take_rows(value) for name, value in inputs.items()}
    shapes = {
        name: dict.fromkeys(dynamic.get(name, (0,)), torch.export.Dim.DYNAMIC) for name in inputs
    }
    try:
        return torch.export.export(model, (), example, dynamic_shapes=shapes)
    except Exception as error:  # The tracer passes on any error that the module raises.
        raise PackageError(
            f"{type(model).__name__}: torch.export cannot export the model ({first_line(error)})"
        ) from error


def _take_rows(values: "Tensor") -> "Tensor":
    import torch

    return torch.cat([values] * _EXPORT_ROWS)[:_EXPORT_ROWS]


def _to_onnx(program: "ExportedProgram", inputs: list[str], outputs: list[str]) -> bytes:
    import torch
    from google.protobuf.message import EncodeError

    try:
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET[""],
            input_names=inputs,
            output_names=outputs,
            external_data=False,
            verbose=False,
        )
    except Exception as error:  # The exporter raises many types of errors.
        raise PackageError(
            f"torch.onnx cannot convert the program ({first_line(error)})"
        ) from error
    proto = exported.model_proto
    _strip(proto)
    try:
        content: bytes = proto.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise PackageError(
            "The model exceeds the 2 GiB limit of an ONNX file. Export it with "
            "torch.onnx.export(..., external_data=True), and package that .onnx file."
        ) from error
    return content


def _strip(proto: "ModelProto") -> None:
    """Remove metadata, such as stack traces with file paths of the author."""
    proto.ClearField("producer_name")
    proto.ClearField("producer_version")
    pending: list[Any] = [proto]
    while pending:
        message = pending.pop()
        for name in ("doc_string", "metadata_props"):
            if name in message.DESCRIPTOR.fields_by_name:
                message.ClearField(name)
        for field, value in message.ListFields():
            if field.message_type is not None:
                pending += [value] if hasattr(value, "ListFields") else list(value)


@contextlib.contextmanager
def _suppress_messages() -> Iterator[None]:
    """Suppress the exporter's irrelevant messages, such as those about torchvision."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
