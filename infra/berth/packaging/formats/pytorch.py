"""PyTorch: a module, or an exported program (.pt2), converted with torch.onnx."""

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from berth.packaging.converted import Converted
from berth.packaging.errors import PackageError, first_line
from berth.packaging.opset import OPSET
from berth.packaging.rows import Array, Rows
from berth.packaging.torch_archive import read_program

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor
    from torch.export import ExportedProgram

# What the rows of a module become by the kind of their type, where not INT64.
_MODULE_TYPES: dict[str, type[np.generic]] = {"f": np.float32, "b": np.bool_}

# A single row would be taken for a size that never changes.
_ROWS_TO_EXPORT_WITH = 2


def convert(model: object, rows: Rows) -> Converted:
    """A `torch.nn.Module`, an `ExportedProgram`, or the .pt2 file that one was saved to.

    Inputs are called as the arguments of `forward`; a program's shapes are kept, a module's number
    of rows is made free. Outputs: `output`, `output_0` … of several, or the keys of a mapping.
    Numbers go in as the program takes them, and into a module as FP32 or INT64.

    Raises:
        PackageError: rows that it does not take, a part that cannot be exported, or a file that
            could run code.
    """
    import torch

    if isinstance(model, torch.nn.Module):
        return convert_module(model, rows, free={})
    with torch.no_grad(), _quiet():
        program = _program(model)
        inputs = _inputs_of_program(program, rows)
        arguments = _arguments(program, inputs)
        if isinstance(model, Path):
            program.example_inputs = arguments  # those of a file are never read
        return _converted(program, inputs, _run(program.module(), *arguments))


def convert_module(model: Any, rows: Rows, *, free: Mapping[str, tuple[int, ...]]) -> Converted:
    """A module; `free` has the dimensions of an input that may change, where more than the first.

    Raises:
        PackageError: as `convert` does.
    """
    import torch

    with torch.no_grad(), _quiet():
        inputs = _inputs_of_module(model.eval(), rows)
        answers = _run(model, (), inputs)
        return _converted(_export(model, inputs, free), inputs, answers)


def answers_of_module(model: Any, rows: Rows) -> dict[str, Array]:
    """A module's own answers by output name.

    Raises:
        PackageError: rows that it does not take.
    """
    import torch

    with torch.no_grad(), _quiet():
        return _run(model, (), _inputs_of_module(model.eval(), rows))


def _converted(
    program: "ExportedProgram", inputs: "dict[str, Tensor]", answers: dict[str, Array]
) -> Converted:
    import onnxscript
    import torch

    return Converted(
        model=_to_onnx(program, list(inputs), list(answers)),
        rows={name: value.numpy() for name, value in inputs.items()},
        answers=answers,
        framework="pytorch",
        framework_version=torch.__version__.partition("+")[0],
        converter=f"torch.onnx, onnxscript {onnxscript.__version__}",
    )


def _program(model: object) -> "ExportedProgram":
    import torch

    if isinstance(model, Path):
        return read_program(model)
    if isinstance(model, torch.export.ExportedProgram):
        return model
    raise PackageError(
        f"{type(model).__name__}: is no torch.nn.Module and no ExportedProgram; a state_dict alone "
        "has no operators"
    )


def _inputs_of_module(model: Any, rows: Rows) -> "dict[str, Tensor]":
    """`rows` by the arguments of `forward`."""
    import torch

    arguments = list(inspect.signature(model.forward).parameters)
    named = _named(rows, arguments[:1])
    if unknown := [name for name in named if name not in arguments]:
        raise PackageError(
            f"rows: forward has no argument {', '.join(unknown)}, but {', '.join(arguments)}"
        )
    return {
        name: torch.from_numpy(
            np.ascontiguousarray(values, _MODULE_TYPES.get(values.dtype.kind, np.int64))
        )
        for name, values in named.items()
    }


def _inputs_of_program(program: "ExportedProgram", rows: Rows) -> "dict[str, Tensor]":
    """`rows` by the program's inputs, in the types that it takes."""
    import torch

    wanted = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs:
            if not isinstance(node.meta["val"], torch.Tensor):
                raise PackageError(f"the program's input {node.name} is no tensor")
            wanted[node.name] = node.meta["val"].dtype
    named = _named(rows, list(wanted))
    if named.keys() != wanted.keys():
        raise PackageError(
            f"rows: are for {', '.join(named)}; the program takes {', '.join(wanted)}"
        )
    return {name: torch.from_numpy(np.array(named[name])).to(wanted[name]) for name in wanted}


def _arguments(
    program: "ExportedProgram", inputs: "dict[str, Tensor]"
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`inputs` by place and by name, as the program was called when it was exported."""
    from torch.utils._pytree import tree_unflatten

    try:
        places, named = tree_unflatten(list(inputs.values()), program.call_spec.in_spec)
    except ValueError as error:
        raise PackageError(
            "the program has arguments that are no tensors; export it without them"
        ) from error
    return places, named


def _named(rows: Rows, inputs: list[str]) -> dict[str, Array]:
    if not isinstance(rows, dict):
        if len(inputs) != 1:
            raise PackageError(f"rows: give an array for each of {', '.join(inputs)} by name")
        rows = {inputs[0]: rows}
    for name, values in rows.items():
        if values.dtype.kind not in "biuf":
            raise PackageError(f"rows {name!r}: are text, a PyTorch model takes numbers")
    return rows


def _run(module: Any, places: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Array]:
    """PyTorch's own answers by output name."""
    import torch

    try:
        given = module(*places, **named)
    except Exception as error:  # a module may raise anything
        raise PackageError(
            f"{type(module).__name__}: does not answer the rows given ({first_line(error)})"
        ) from error
    if isinstance(given, Mapping):
        answers = {str(name): value for name, value in given.items()}
    elif isinstance(given, tuple | list) and len(given) > 1:
        answers = {f"output_{place}": value for place, value in enumerate(given)}
    else:
        answers = {"output": given[0] if isinstance(given, tuple | list) and given else given}
    if not all(isinstance(value, torch.Tensor) for value in answers.values()):
        raise PackageError(
            f"{type(module).__name__}: answers something else than tensors; have forward return a "
            "tensor, several, or a mapping of them"
        )
    return {name: value.numpy() for name, value in answers.items()}


def _export(
    model: Any, inputs: "dict[str, Tensor]", free: Mapping[str, tuple[int, ...]]
) -> "ExportedProgram":
    """The module as a program whose number of rows is free, and what `free` has besides."""
    import torch

    few = {name: _some_rows(value) for name, value in inputs.items()}
    shapes = {
        name: dict.fromkeys(free.get(name, (0,)), torch.export.Dim.DYNAMIC) for name in inputs
    }
    try:
        return torch.export.export(model, (), few, dynamic_shapes=shapes)
    except Exception as error:  # the tracer lets through what the module raises
        raise PackageError(
            f"{type(model).__name__}: torch.export cannot export it ({first_line(error)})"
        ) from error


def _some_rows(values: "Tensor") -> "Tensor":
    import torch

    return torch.cat([values] * _ROWS_TO_EXPORT_WITH)[:_ROWS_TO_EXPORT_WITH]


def _to_onnx(program: "ExportedProgram", inputs: list[str], outputs: list[str]) -> bytes:
    import torch
    from google.protobuf.message import EncodeError

    try:
        made = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET[""],
            input_names=inputs,
            output_names=outputs,
            external_data=False,
            verbose=False,
        )
    except Exception as error:  # as in _export
        raise PackageError(
            f"torch.onnx cannot convert the program ({first_line(error)})"
        ) from error
    proto = made.model_proto
    _strip(proto)
    try:
        content: bytes = proto.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise PackageError(
            "the model is larger than the 2 GiB of an ONNX file; export it with "
            "torch.onnx.export(..., external_data=True), and package that .onnx file"
        ) from error
    return content


def _strip(proto: "ModelProto") -> None:
    """Drop what says nothing about the model: stack traces, with the maker's paths in them."""
    proto.ClearField("producer_name")
    proto.ClearField("producer_version")
    waiting: list[Any] = [proto]
    while waiting:
        message = waiting.pop()
        for name in ("doc_string", "metadata_props"):
            if name in message.DESCRIPTOR.fields_by_name:
                message.ClearField(name)
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting += [value] if hasattr(value, "ListFields") else list(value)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks, on torchvision for one, which mean nothing here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
