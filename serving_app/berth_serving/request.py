"""An inference request: read from its body, and held against the model before it is run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from berth_protocol.errors import RequestError
from berth_serving.datatypes import DATATYPES
from berth_serving.model import Model, Port
from berth_serving.tensors import Array, from_binary, from_json

# JSON can be read with larger integers than it can be written with.
_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Parameter = bool | _Integer | float | str | None


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Parameter] = {}
    data: msgspec.Raw = msgspec.Raw(b"")


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Parameter] = {}


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    parameters: dict[str, Parameter] = {}
    outputs: list[_Output] | None = None


_DECODER = msgspec.json.Decoder(_Request)


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What is to be run.

    `outputs` maps each requested output, in the order asked for, to whether it is to be binary.
    `parameters` are the request's own, without those that only say how to answer.
    """

    id: str | None
    parameters: dict[str, Parameter]
    feeds: dict[str, Array]
    outputs: dict[str, bool]


def read_request(
    body: bytes, json_bytes: int | None, model: Model, max_batch: int
) -> InferenceRequest:
    """The request in `body`.

    Args:
        json_bytes: with the binary extension, how many bytes of the body are the JSON header (0:
            the whole body is the model's one input); None, when all of it is JSON.
        max_batch: most rows, for a model whose first dimension is free.

    Raises:
        RequestError: 400, with the field and what would be right.
    """
    if json_bytes == 0:
        return _raw_request(body, model, max_batch)
    header = body if json_bytes is None else body[:json_bytes]
    tail = memoryview(b"") if json_bytes is None else memoryview(body)[json_bytes:]
    try:
        message = _DECODER.decode(header)
    except msgspec.ValidationError as error:
        raise RequestError(400, f"not an inference request: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, f"not valid JSON: {error}") from None
    feeds = _feeds(message.inputs, tail, model)
    _check_sizes(feeds, model, max_batch)
    parameters = {k: v for k, v in message.parameters.items() if k != "binary_data_output"}
    return InferenceRequest(message.id, parameters, feeds, _outputs(message, model))


def _feeds(inputs: Sequence[_Input], tail: memoryview, model: Model) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    at = 0
    for entry in inputs:
        port = model.inputs.get(entry.name)
        if port is None:
            raise RequestError(
                400, f"unknown input {entry.name!r}; the model has: {', '.join(model.inputs)}"
            )
        if entry.name in feeds:
            raise RequestError(400, f"input {entry.name!r} is given twice")
        _check(entry, port)
        size = entry.parameters.get("binary_data_size")
        if size is None:
            if not entry.data:
                raise RequestError(
                    400, f"input {entry.name!r} has neither data nor binary_data_size"
                )
            feeds[entry.name] = from_json(entry.data, entry.name, port.datatype, entry.shape)
            continue
        if entry.data:
            raise RequestError(400, f"input {entry.name!r} has both data and binary_data_size")
        if type(size) is not int or not 0 <= size <= len(tail) - at:
            raise RequestError(
                400,
                f"input {entry.name!r}: binary_data_size is {size!r}, "
                f"{len(tail) - at} bytes are left after the JSON header",
            )
        part = tail[at : at + size]
        feeds[entry.name] = from_binary(part, entry.name, port.datatype, entry.shape)
        at += size
    if at != len(tail):
        raise RequestError(400, f"{len(tail) - at} bytes of binary data belong to no input")
    if len(feeds) != len(model.inputs):
        missing = ", ".join(repr(name) for name in model.inputs if name not in feeds)
        raise RequestError(400, f"input {missing} is missing")
    return feeds


def _check(entry: _Input, port: Port) -> None:
    if entry.datatype != port.datatype.name:
        allowed = "" if entry.datatype in DATATYPES else ", which is no datatype of the protocol"
        raise RequestError(
            400,
            f"input {port.name!r} must have datatype {port.datatype.name}, "
            f"not {entry.datatype!r}{allowed}",
        )
    if not port.takes(entry.shape):
        raise RequestError(
            400,
            f"input {port.name!r} must have shape {port.metadata()['shape']} (-1 is free), "
            f"not {entry.shape}",
        )


def _check_sizes(feeds: dict[str, Array], model: Model, max_batch: int) -> None:
    """Dimensions that the model knows by one name are equal; a batch is not too large."""
    if model.batched_inputs:
        rows = max(len(feeds[name]) for name in model.batched_inputs)
        if rows > max_batch:
            raise RequestError(400, f"the request has {rows} rows; at most {max_batch}")
    sizes: dict[str, tuple[int, str]] = {}
    for dim, name, axis in model.shared_dims:
        size = feeds[name].shape[axis]
        other, where = sizes.setdefault(dim, (size, name))
        if other != size:
            raise RequestError(
                400,
                f"dimension {dim!r} is {other} in input {where!r} and {size} in {name!r}; "
                "it must be the same",
            )


def _outputs(message: _Request, model: Model) -> dict[str, bool]:
    by_default = message.parameters.get("binary_data_output") is True
    if not message.outputs:
        return dict.fromkeys(model.outputs, by_default)
    outputs: dict[str, bool] = {}
    for entry in message.outputs:
        if entry.name not in model.outputs:
            raise RequestError(
                400, f"unknown output {entry.name!r}; the model has: {', '.join(model.outputs)}"
            )
        if entry.name in outputs:
            raise RequestError(400, f"output {entry.name!r} is asked for twice")
        binary = entry.parameters.get("binary_data", by_default)
        if not isinstance(binary, bool):
            raise RequestError(
                400, f"output {entry.name!r}: binary_data must be true or false, not {binary!r}"
            )
        outputs[entry.name] = binary
    return outputs


def _raw_request(body: bytes, model: Model, max_batch: int) -> InferenceRequest:
    """The extension's raw binary request: the body is the one input, of one row where the first
    dimension is free; everything else about it must be fixed."""
    if len(model.inputs) != 1:
        raise RequestError(
            400, f"a raw binary request needs a model with one input; this has {len(model.inputs)}"
        )
    port = next(iter(model.inputs.values()))
    free = [at for at, dim in enumerate(port.shape) if not isinstance(dim, int)]
    shape = [dim if isinstance(dim, int) else 1 for dim in port.shape]
    if len(free) == 1 and port.datatype.size:
        row = port.datatype.size
        for dim in shape:
            row *= dim
        shape[free[0]] = len(body) // row if row else 0
    elif free:
        raise RequestError(
            400, "a raw binary request needs a model whose input has at most one free dimension"
        )
    feeds = {port.name: from_binary(memoryview(body), port.name, port.datatype, shape)}
    _check_sizes(feeds, model, max_batch)
    return InferenceRequest(None, {}, feeds, dict.fromkeys(model.outputs, True))
