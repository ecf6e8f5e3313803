"""Building HTTP responses: JSON, errors, and inference results with optional binary tensors."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from berth_protocol.asgi import RawHeaders
from berth_protocol.errors import RequestError, error_body
from berth_protocol.headers import INFERENCE_HEADER_LENGTH, REQUEST_ID, RETURNED_HEADERS
from berth_serving.http.request import ParsedRequest
from berth_serving.memory_estimate import JSON_BYTES_PER_BYTE
from berth_serving.model import Model
from berth_serving.tensors import Array, to_binary, to_json

_JSON: RawHeaders = [(b"content-type", b"application/json")]
_BINARY = (b"content-type", b"application/octet-stream")
_JSON_LENGTH = INFERENCE_HEADER_LENGTH.encode()
_REQUEST_ID = REQUEST_ID.encode()
# Only these are returned, so that a caller cannot make a berth set other headers.
_RETURNED = {name.encode(): returned.encode() for name, returned in RETURNED_HEADERS.items()}
# The bytes of the arrays, and the whole body.
BINARY_BYTES_PER_BYTE = 2
_PRINTABLE = re.compile(rb"[!-~]([ -~]{0,126}[!-~])?")


class Response(NamedTuple):
    """A complete response. The application adds the headers that every response has.

    Attributes:
        held_bytes: Bytes that the data plane counts until the client has taken them.
    """

    status: int
    headers: RawHeaders
    body: bytes
    held_bytes: int = 0


def json_response(status: int, message: Any) -> Response:
    """Return `message`, a message of the protocol or plain data, as JSON."""
    return Response(status, _JSON, msgspec.json.encode(message))


def error_response(error: RequestError) -> Response:
    """Return the response that an error describes."""
    extra = [(name.encode(), value.encode()) for name, value in error.headers.items()]
    return Response(error.status, [*_JSON, *extra], error_body(error.message))


def build_request_headers(headers: Mapping[bytes, bytes], request_id: bytes) -> RawHeaders:
    """Return the request ID, and the headers that the request asks the berth to return.

    A value that is not 1 to 128 characters of printable ASCII is ignored.
    """
    if headers.keys().isdisjoint(_RETURNED):
        return [(_REQUEST_ID, request_id)]
    returned = {
        name: headers[requested]
        for requested, name in _RETURNED.items()
        if requested in headers and _PRINTABLE.fullmatch(headers[requested])
    }
    return list(({_REQUEST_ID: request_id} | returned).items())


def check_response_size(request: ParsedRequest, arrays: Sequence[Array], max_bytes: int) -> int:
    """Return about how many bytes the conversion of a response takes.

    Raises:
        RequestError: 413, if they are more than `max_bytes`.
    """
    size = sum(
        array.nbytes * (BINARY_BYTES_PER_BYTE if is_binary else JSON_BYTES_PER_BYTE)
        for is_binary, array in zip(request.outputs.values(), arrays, strict=True)
    )
    if size > max_bytes:
        raise RequestError(
            413,
            f"The response would take about {size >> 20} MiB of memory; the berth has"
            f" {max_bytes >> 20} MiB for requests. Request fewer rows or outputs, or binary"
            " outputs, which are smaller.",
        )
    return size


def inference_response(model: Model, request: ParsedRequest, arrays: Sequence[Array]) -> Response:
    """Return the response with `arrays`, one for each requested output."""
    message: dict[str, Any] = {"model_name": model.card.name, "model_version": model.card.version}
    if request.id is not None:
        message["id"] = request.id
    if request.parameters:
        message["parameters"] = request.parameters
    tensors: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for (name, is_binary), array in zip(request.outputs.items(), arrays, strict=True):
        datatype = model.outputs[name].datatype
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": datatype.name,
            "shape": list(array.shape),
        }
        if is_binary:
            parts.append(to_binary(array, datatype))
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = to_json(array)
        tensors.append(tensor)
    message["outputs"] = tensors
    header = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
    if not parts:
        return Response(200, _JSON, header)
    headers = [_BINARY, (_JSON_LENGTH, str(len(header)).encode())]
    return Response(200, headers, b"".join([header, *parts]))
