"""ONNX: a model that is packaged unchanged, byte for byte, unless its IR version is too old."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from berth.packaging.conversion import Conversion
from berth.packaging.errors import PackageError
from berth.packaging.pickles import reject_pickle
from berth.packaging.rows import Array, Rows

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto


# The first IR version with constants that are not inputs, and with optional inputs:
# https://github.com/onnx/onnx/blob/main/docs/IR.md#optional-inputs
_FIRST_IR_WITH_CONSTANTS = 4
_RAISED = "The model's IR version was raised from {} to 4, which changes no prediction."


def convert(model: object, rows: Rows) -> Conversion:
    """Read an .onnx file with its external data, or an `onnx.ModelProto`.

    Rows by the name of an output are the predictions of the framework that exported the file.

    Raises:
        PackageError: If it is not an ONNX model, or if its external data is missing or outside the
            model's directory.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if isinstance(model, Path):
        content: bytes | Path = model
        name = str(model)
        directory: Path | None = model.parent
        try:
            proto = onnx.load(model, load_external_data=False)
        except DecodeError as error:
            raise PackageError(f"{name}: not an ONNX model ({error})") from error
    elif isinstance(model, onnx.ModelProto):
        proto, name, directory = model, "the model", None
        content = model.SerializeToString(deterministic=True)
    else:
        raise PackageError(f"{type(model).__name__}: the object is not an onnx.ModelProto")
    if not proto.graph.node:
        raise PackageError(f"{name}: not an ONNX model, or a model without operators")

    notes: tuple[str, ...] = ()
    if proto.ir_version < _FIRST_IR_WITH_CONSTANTS and _has_constants(proto):
        content, notes = _raise_ir_version(proto), (_RAISED.format(proto.ir_version),)
    inputs, predictions = _split_rows(proto, rows, name)
    producer = f"{proto.producer_name} {proto.producer_version}".strip()
    return Conversion(
        model=content,
        rows=inputs,
        predictions=predictions,
        data_files=_find_external_data(proto, directory, name),
        framework="onnx",
        framework_version=f"IR {proto.ir_version}",
        converter=producer,
        notes=notes,
    )


def _has_constants(proto: "ModelProto") -> bool:
    inputs = {value.name for value in proto.graph.input}
    return any(tensor.name not in inputs for tensor in proto.graph.initializer)


def _raise_ir_version(proto: "ModelProto") -> bytes:
    """Return the same model in IR version 4, whose constants need not be inputs.

    onnxruntime accepts an older model whose constants are not inputs, but ONNX's checker does not.
    Constants that are inputs remain constants: in IR version 4, they would be optional inputs.
    """
    import onnx

    raised = onnx.ModelProto()
    raised.CopyFrom(proto)
    raised.ir_version = _FIRST_IR_WITH_CONSTANTS
    constants = {tensor.name for tensor in proto.graph.initializer}
    del raised.graph.input[:]
    raised.graph.input.extend(v for v in proto.graph.input if v.name not in constants)
    content: bytes = raised.SerializeToString(deterministic=True)
    return content


def read_inputs(path: Path) -> list[str]:
    """Return the names of a model's inputs. The file is checked when it is converted."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    return [value.name for value in graph.input if value.name not in constants]


def _split_rows(
    proto: "ModelProto", rows: Rows, model_name: str
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Split `rows` into rows by input name and predictions by output name."""
    constants = {
        *(tensor.name for tensor in proto.graph.initializer),
        *(tensor.values.name for tensor in proto.graph.sparse_initializer),
    }
    names = [value.name for value in proto.graph.input]
    inputs = [name for name in names if name not in constants]
    has_optional = proto.ir_version >= _FIRST_IR_WITH_CONSTANTS
    optional = [name for name in names if name in constants] if has_optional else []
    outputs = [value.name for value in proto.graph.output]
    if not isinstance(rows, dict):
        if len(inputs) != 1:
            raise PackageError(
                f"{model_name}: the model has the inputs {', '.join(inputs)}. Pass rows for each "
                "by name: "
                f"numpy.savez('rows.npz', {', '.join(f'{name}=...' for name in inputs)})"
            )
        rows = {inputs[0]: rows}
    missing = [name for name in inputs if name not in rows]
    unknown = [name for name in rows if name not in (*inputs, *optional, *outputs)]
    if missing or unknown:
        raise PackageError(
            f"{model_name}: name the rows after the inputs ({', '.join(inputs)}) and, for "
            f"predictions, the outputs ({', '.join(outputs)}); "
            + "; ".join(
                f"{kind}: {', '.join(names)}"
                for kind, names in (("missing", missing), ("unknown", unknown))
                if names
            )
        )
    return (
        {name: rows[name] for name in (*inputs, *optional) if name in rows},
        {name: rows[name] for name in outputs if name in rows and name not in inputs},
    )


def _find_external_data(
    proto: "ModelProto", directory: Path | None, model_name: str
) -> dict[str, Path]:
    """Return the files that contain tensors of the model, by their path in the model."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    files: dict[str, Path] = {}
    for tensor in _tensors(proto):
        if not uses_external_data(tensor):
            continue
        location = ExternalDataInfo(tensor).location
        if directory is None:
            raise PackageError(
                f"{model_name}: tensor {tensor.name!r} is in another file ({location}). Save the "
                "model, and package the .onnx file with its data in the same directory."
            )
        path = directory / location
        if not path.resolve().is_relative_to(directory.resolve()):
            raise PackageError(
                f"{model_name}: tensor {tensor.name!r} is in {location}, outside the model's "
                "directory. A version contains all of its files, so move the file there."
            )
        if not path.is_file():
            raise PackageError(
                f"{model_name}: tensor {tensor.name!r} is in {path}, which is not a file. Copy the "
                "model's external data there."
            )
        if location not in files:
            reject_pickle(path)
            files[location] = path
    return files


def _tensors(proto: "ModelProto") -> "Iterator[TensorProto]":
    """Yield every tensor of the model that may be in another file."""
    yield from _tensors_of_graph(proto.graph)
    for function in proto.functions:
        for node in function.node:
            yield from _tensors_of_node(node)


def _tensors_of_graph(graph: "GraphProto") -> "Iterator[TensorProto]":
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _tensors_of_node(node)


def _tensors_of_node(node: "NodeProto") -> "Iterator[TensorProto]":
    attributes: list[AttributeProto] = list(node.attribute)
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("g"):
            yield from _tensors_of_graph(attribute.g)
        for graph in attribute.graphs:
            yield from _tensors_of_graph(graph)
