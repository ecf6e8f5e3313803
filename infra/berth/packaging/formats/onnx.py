"""ONNX: a model that is packaged as it is, byte for byte."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from berth.packaging.converted import Converted
from berth.packaging.errors import PackageError
from berth.packaging.pickles import refuse_pickle
from berth.packaging.rows import Array, Rows

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto


def convert(model: object, rows: Rows) -> Converted:
    """An .onnx file with the external data beside it, or an `onnx.ModelProto`.

    Rows under an output's name are that output's answers, as the framework that the file was
    exported from gave them.

    Raises:
        PackageError: not an ONNX model, or its external data is missing or lies elsewhere.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if isinstance(model, Path):
        content = model.read_bytes()
        where = str(model)
        folder: Path | None = model.parent
        try:
            proto = onnx.load_model_from_string(content)
        except DecodeError as error:
            raise PackageError(f"{where}: is not an ONNX model ({error})") from error
    elif isinstance(model, onnx.ModelProto):
        proto, where, folder = model, "the model", None
        content = model.SerializeToString(deterministic=True)
    else:
        raise PackageError(f"{type(model).__name__}: is not an onnx.ModelProto")
    if not proto.graph.node:
        raise PackageError(f"{where}: is not an ONNX model, or an empty one: it has no operator")

    inputs, answers = _split(proto, rows, where)
    producer = f"{proto.producer_name} {proto.producer_version}".strip()
    return Converted(
        model=content,
        rows=inputs,
        answers=answers,
        data_files=_external_data(proto, folder, where),
        framework="onnx",
        framework_version=f"IR {proto.ir_version}",
        converter=producer,
    )


def _split(
    proto: "ModelProto", rows: Rows, where: str
) -> tuple[dict[str, Array], dict[str, Array]]:
    """`rows` by input name, and the answers that came along by output name."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value.name for value in proto.graph.input if value.name not in constants]
    outputs = [value.name for value in proto.graph.output]
    if not isinstance(rows, dict):
        if len(inputs) != 1:
            raise PackageError(
                f"{where}: has the inputs {', '.join(inputs)}; give rows for each by name: "
                f"numpy.savez('rows.npz', {', '.join(f'{name}=...' for name in inputs)})"
            )
        rows = {inputs[0]: rows}
    missing = [name for name in inputs if name not in rows]
    unknown = [name for name in rows if name not in inputs and name not in outputs]
    if missing or unknown:
        raise PackageError(
            f"{where}: rows must be named as the inputs ({', '.join(inputs)}) and, for answers, "
            f"the outputs ({', '.join(outputs)}); "
            + "; ".join(
                f"{what}: {', '.join(names)}"
                for what, names in (("missing", missing), ("unknown", unknown))
                if names
            )
        )
    return (
        {name: rows[name] for name in inputs},
        {name: rows[name] for name in outputs if name in rows and name not in inputs},
    )


def _external_data(proto: "ModelProto", folder: Path | None, where: str) -> dict[str, Path]:
    """The files that the model's tensors lie in, by the relative path that the model gives."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    files: dict[str, Path] = {}
    for tensor in _tensors(proto):
        if not uses_external_data(tensor):
            continue
        location = ExternalDataInfo(tensor).location
        if folder is None:
            raise PackageError(
                f"{where}: tensor {tensor.name!r} lies in another file ({location}); "
                "save the model, and package the .onnx file with its data beside it"
            )
        path = folder / location
        if not path.resolve().is_relative_to(folder.resolve()):
            raise PackageError(
                f"{where}: tensor {tensor.name!r} lies in {location}, outside the model's "
                "directory; a version holds all of its files, so put it beside the model"
            )
        if not path.is_file():
            raise PackageError(f"{where}: tensor {tensor.name!r} lies in {path}, which is no file")
        if location not in files:
            refuse_pickle(path)
            files[location] = path
    return files


def _tensors(proto: "ModelProto") -> "Iterator[TensorProto]":
    """Every tensor of the model that may lie in another file."""
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
