"""Reading an inference request from an HTTP body: JSON, or the binary tensor data extension."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from berth_protocol.errors import RequestError
from berth_protocol.headers import INFERENCE_HEADER_LENGTH
from berth_protocol.messages import InferenceRequest, InputTensor, Parameter, RequestedOutput
from berth_serving.http.request_outline import MAX_ID_CHARACTERS, check_outline
from berth_serving.json_tensors import from_json
from berth_serving.model import Model
from berth_serving.tensors import Array, from_binary
from berth_serving.text import list_names, quote
from berth_serving.validation import (
    check_rows,
    check_tensor,
    check_text_lengths,
    get_input,
    get_output,
)

_DECODER = msgspec.json.Decoder(InferenceRequest)
_JSON_LENGTH = INFERENCE_HEADER_LENGTH.encode()
_MAX_DIGITS = 19
_NULL = msgspec.Raw(b"null")
# Extensions of other servers that would change the response. A client that uses one must not get
# a response that looks as if the berth supported it:
# https://github.com/triton-inference-server/server/tree/main/docs/protocol
_UNSUPPORTED = {
    "classification": "Berth returns the output itself. Remove the parameter, and choose the"
    " largest values in the client.",
    "shared_memory_region": "Berth does not read the memory of its clients. Send the data in the"
    " request.",
    "sequence_id": "Berth keeps no state between requests. Send the whole sequence in one request.",
}


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """An inference request whose inputs are valid for the model.

    Attributes:
        id: The caller's ID, which the response repeats.
        parameters: Parameters that the response repeats.
        feeds: Input name -> array.
        outputs: Requested output -> whether the response contains it in binary form, in order.
    """

    id: str | None
    parameters: dict[str, Parameter]
    feeds: dict[str, Array]
    outputs: dict[str, bool]


def read_json_length(headers: Mapping[bytes, bytes], body: bytes) -> int | None:
    """Return the length of the JSON header that the binary extension announces, or None.

    Raises:
        RequestError: 400, if the length is not a number or exceeds the body.
    """
    text = headers.get(_JSON_LENGTH)
    if text is None:
        return None
    # Python refuses to parse a number with thousands of digits.
    if not text.isdigit() or len(text) > _MAX_DIGITS or int(text) > len(body):
        raise RequestError(
            400,
            "Inference-Header-Content-Length must be a whole number of at most"
            f" {len(body)}, the length of the body in bytes.",
        )
    return int(text)


def read_request(
    body: bytes, json_length: int | None, model: Model, max_batch: int
) -> ParsedRequest:
    """Read and validate the request in `body`.

    Args:
        json_length: With the binary extension, the length of the JSON header in bytes; 0 means
            that the whole body is the model's only input. None if the whole body is JSON.
        max_batch: Maximum number of rows, for a model that has rows.

    Raises:
        RequestError: 400, with the field and the expected value; 413 for too many rows.
    """
    if json_length == 0:
        return _read_raw_request(body, model, max_batch)
    header = body if json_length is None else body[:json_length]
    binary = memoryview(b"") if json_length is None else memoryview(body)[json_length:]
    message = _decode(header, model)
    if message.id is not None and len(message.id) > MAX_ID_CHARACTERS:
        raise RequestError(
            400,
            f"The id has {len(message.id)} characters; the maximum is {MAX_ID_CHARACTERS}.",
        )
    parameters = message.parameters or {}
    _check_parameters("The request", parameters)
    outputs = _read_outputs(message.outputs or [], parameters, model)
    feeds = _read_inputs(message.inputs, binary, model, max_batch)
    returned = {k: v for k, v in parameters.items() if k != "binary_data_output"}
    return ParsedRequest(message.id, returned, feeds, outputs)


def _decode(header: bytes, model: Model) -> InferenceRequest:
    try:
        check_outline(header, model)
        return _DECODER.decode(header)
    except msgspec.ValidationError as error:
        raise RequestError(400, f"Invalid inference request: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = (
            " JSON has no NaN or infinity: send null for NaN, or binary tensor data."
            if b"NaN" in header or b"Infinity" in header
            else ""
        )
        raise RequestError(400, f"Invalid JSON: {error}.{hint}") from None


def _check_parameters(owner: str, parameters: Mapping[str, Parameter]) -> None:
    """Reject parameters of extensions that Berth does not have."""
    for name, advice in _UNSUPPORTED.items():
        if parameters.get(name):
            raise RequestError(400, f"{owner} has the unsupported parameter {name}. {advice}")


def _read_inputs(
    inputs: Sequence[InputTensor], binary: memoryview, model: Model, max_batch: int
) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    offset = 0
    for entry in inputs:
        spec = get_input(model, entry.name)
        if entry.name in feeds:
            raise RequestError(400, f"Input {entry.name!r} occurs twice. Send each input once.")
        check_tensor(spec, entry.datatype, entry.shape)
        check_rows(model, entry.name, entry.shape, max_batch)
        parameters = entry.parameters or {}
        _check_parameters(f"Input {entry.name!r}", parameters)
        size = parameters.get("binary_data_size")
        data = None if entry.data is msgspec.UNSET or entry.data == _NULL else entry.data
        if size is None:
            if data is None:
                raise RequestError(
                    400, f"Input {entry.name!r} has neither data nor binary_data_size. Set one."
                )
            feeds[entry.name] = from_json(data, entry.name, spec.datatype, entry.shape)
            continue
        if data is not None:
            raise RequestError(
                400, f"Input {entry.name!r} has both data and binary_data_size. Send only one."
            )
        if type(size) is not int or not 0 <= size <= len(binary) - offset:
            raise RequestError(
                400,
                f"Input {entry.name!r}: binary_data_size is {quote(size)}, but"
                f" {len(binary) - offset} bytes remain after the JSON header."
                " Send the number of bytes of this input.",
            )
        part = binary[offset : offset + size]
        feeds[entry.name] = from_binary(part, entry.name, spec.datatype, entry.shape)
        offset += size
    if offset != len(binary):
        raise RequestError(
            400,
            f"{len(binary) - offset} bytes of binary data do not belong to any input."
            " Set binary_data_size on every binary input.",
        )
    missing = [name for name in model.required_inputs if name not in feeds]
    if missing:
        raise RequestError(
            400,
            f"Missing inputs: {list_names(map(repr, missing))}."
            " Send every required input of the model.",
        )
    check_text_lengths(feeds, model)
    return feeds


def _read_outputs(
    requested: Sequence[RequestedOutput], request_parameters: Mapping[str, Parameter], model: Model
) -> dict[str, bool]:
    default = request_parameters.get("binary_data_output")
    default = False if default is None else default
    if not isinstance(default, bool):
        raise RequestError(400, f"binary_data_output must be true or false, not {quote(default)}.")
    if not requested:
        return dict.fromkeys(model.outputs, default)
    outputs: dict[str, bool] = {}
    for entry in requested:
        get_output(model, entry.name)
        if entry.name in outputs:
            raise RequestError(
                400, f"Output {entry.name!r} is requested twice. Request each output once."
            )
        parameters = entry.parameters or {}
        _check_parameters(f"Output {entry.name!r}", parameters)
        binary = parameters.get("binary_data", default)
        if not isinstance(binary, bool):
            raise RequestError(
                400,
                f"Output {entry.name!r}: binary_data must be true or false, not {quote(binary)}.",
            )
        outputs[entry.name] = binary
    return outputs


def _read_raw_request(body: bytes, model: Model, max_batch: int) -> ParsedRequest:
    """Read a raw binary request: the body is the model's only input.

    The shape must follow from the model and the length of the body.
    """
    if len(model.required_inputs) != 1:
        raise RequestError(
            400,
            "A raw binary request requires a model with exactly one required input; this model has"
            f" {len(model.required_inputs)}. Send a JSON header.",
        )
    spec = model.inputs[model.required_inputs[0]]
    free = [axis for axis, dim in enumerate(spec.shape) if not isinstance(dim, int)]
    shape = [dim if isinstance(dim, int) else 1 for dim in spec.shape]
    if len(free) == 1 and spec.datatype.size:
        row_bytes = spec.datatype.size
        for dim in shape:
            row_bytes *= dim
        shape[free[0]] = len(body) // row_bytes if row_bytes else 0
    elif free:
        raise RequestError(
            400,
            "A raw binary request requires an input with at most one free dimension and a fixed"
            " element size. Send a JSON header with the shape.",
        )
    check_rows(model, spec.name, shape, max_batch)
    feeds = {spec.name: from_binary(memoryview(body), spec.name, spec.datatype, shape)}
    check_text_lengths(feeds, model)
    return ParsedRequest(None, {}, feeds, dict.fromkeys(model.outputs, True))
