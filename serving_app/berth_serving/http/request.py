"""Reading an inference request from an HTTP body: JSON, or the binary tensor data extension."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from berth_protocol.errors import RequestError
from berth_protocol.headers import INFERENCE_HEADER_LENGTH
from berth_protocol.messages import InferenceRequest, InputTensor, Parameter
from berth_serving.model import Model
from berth_serving.tensors import Array, from_binary, from_json
from berth_serving.validation import check_sizes, check_tensor, get_input, get_output

_DECODER = msgspec.json.Decoder(InferenceRequest)
_JSON_LENGTH = INFERENCE_HEADER_LENGTH.encode()
_MAX_DIGITS = 19


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
        RequestError: 400, with the field and the expected value.
    """
    if json_length == 0:
        return _read_raw_request(body, model, max_batch)
    header = body if json_length is None else body[:json_length]
    binary = memoryview(b"") if json_length is None else memoryview(body)[json_length:]
    try:
        message = _DECODER.decode(header)
    except msgspec.ValidationError as error:
        raise RequestError(400, f"Invalid inference request: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, f"Invalid JSON: {error}.") from None
    feeds = _read_inputs(message.inputs, binary, model)
    check_sizes(feeds, model, max_batch)
    parameters = {k: v for k, v in message.parameters.items() if k != "binary_data_output"}
    return ParsedRequest(message.id, parameters, feeds, _read_outputs(message, model))


def _read_inputs(
    inputs: Sequence[InputTensor], binary: memoryview, model: Model
) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    offset = 0
    for entry in inputs:
        spec = get_input(model, entry.name)
        if entry.name in feeds:
            raise RequestError(400, f"Input {entry.name!r} occurs twice. Send each input once.")
        check_tensor(spec, entry.datatype, entry.shape)
        size = entry.parameters.get("binary_data_size")
        if size is None:
            if entry.data is msgspec.UNSET:
                raise RequestError(
                    400, f"Input {entry.name!r} has neither data nor binary_data_size. Set one."
                )
            feeds[entry.name] = from_json(entry.data, entry.name, spec.datatype, entry.shape)
            continue
        if entry.data is not msgspec.UNSET:
            raise RequestError(
                400, f"Input {entry.name!r} has both data and binary_data_size. Send only one."
            )
        if type(size) is not int or not 0 <= size <= len(binary) - offset:
            raise RequestError(
                400,
                f"Input {entry.name!r}: binary_data_size is {size!r}, but {len(binary) - offset}"
                " bytes remain after the JSON header. Send the number of bytes of this input.",
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
    missing = [repr(name) for name in model.required_inputs if name not in feeds]
    if missing:
        raise RequestError(
            400, f"Missing inputs: {', '.join(missing)}. Send every required input of the model."
        )
    return feeds


def _read_outputs(message: InferenceRequest, model: Model) -> dict[str, bool]:
    default = message.parameters.get("binary_data_output") is True
    if not message.outputs:
        return dict.fromkeys(model.outputs, default)
    outputs: dict[str, bool] = {}
    for entry in message.outputs:
        get_output(model, entry.name)
        if entry.name in outputs:
            raise RequestError(
                400, f"Output {entry.name!r} is requested twice. Request each output once."
            )
        binary = entry.parameters.get("binary_data", default)
        if not isinstance(binary, bool):
            raise RequestError(
                400, f"Output {entry.name!r}: binary_data must be true or false, not {binary!r}."
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
    feeds = {spec.name: from_binary(memoryview(body), spec.name, spec.datatype, shape)}
    check_sizes(feeds, model, max_batch)
    return ParsedRequest(None, {}, feeds, dict.fromkeys(model.outputs, True))
