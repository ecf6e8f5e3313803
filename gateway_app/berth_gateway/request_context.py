"""The request context: one request, its body, its response, and what becomes known of them."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Self

import msgspec

from berth_protocol.asgi import RawHeaders, Receive, Scope, Send, choose_request_id
from berth_protocol.errors import RequestError, error_body
from berth_protocol.headers import UNKNOWN_LENGTH

_UNKNOWN_LENGTH = UNKNOWN_LENGTH.encode()

Body = bytes | memoryview
"""A request body. A long one is a view of the buffer in which it arrived."""


class ClientDisconnectedError(Exception):
    """The client closed its connection before it sent the whole request."""


@dataclass
class RequestContext:
    """One request and its response.

    Attributes:
        method: HTTP method of the request.
        path: Path as the client sent it, still encoded and without the query.
        headers: Headers of the request.
        receive: ASGI receive function.
        send: ASGI send function.
        request_id: The client's request ID, or a new one.
        peer: Address at the other end of the connection: the client, or an ingress controller.
        client: Client name. Empty until the client is authenticated.
        model: Model name. Empty until the model is known to be exposed.
        version: Version that the request is forwarded to. Empty until it is selected.
        status: Status of the response. 0 until it is known, 499 if the client disconnected.
        request_bytes: Size of the request body.
        response_bytes: Size of the response body that was sent.
        response_headers: Headers that the gateway adds to every response.
        response_started: Whether the response headers were sent. No other response is possible.
        started_at: Start of the request on the monotonic clock, in seconds.
    """

    method: str
    path: str
    headers: RawHeaders
    receive: Receive
    send: Send
    request_id: str
    peer: str = ""
    client: str = ""
    model: str = ""
    version: str = ""
    status: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    response_headers: dict[str, str] = field(default_factory=dict)
    response_started: bool = False
    started_at: float = field(default_factory=time.monotonic)

    @classmethod
    def from_scope(cls, scope: Scope, receive: Receive, send: Send) -> Self:
        """Create the context of a request from the arguments of an ASGI app."""
        headers: RawHeaders = scope["headers"]
        return cls(
            method=scope["method"],
            path=scope["raw_path"].decode("ascii"),
            headers=headers,
            receive=receive,
            send=send,
            request_id=choose_request_id(headers).decode(),
            peer=(scope.get("client") or ("",))[0],
        )

    def header_values(self, name: bytes) -> list[bytes]:
        """Return all values of a request header."""
        return [value for key, value in self.headers if key == name]


def check_content_length(context: RequestContext, max_bytes: int) -> None:
    """Check the announced length before the body is read.

    Raises:
        RequestError: 411 if there is no length and no chunked encoding, 413 if the body is too
            large.
    """
    values = dict(context.headers)
    if b"content-length" in values:
        if int(values[b"content-length"]) > max_bytes:
            raise _body_too_large(max_bytes)
    elif b"transfer-encoding" not in values:
        raise RequestError(
            411, "Content-Length is missing. Send the inference request with a body and its length."
        )


async def read_body(context: RequestContext, max_bytes: int, timeout_seconds: float) -> Body:
    """Read the whole body, so that the request can be sent to a berth twice.

    Raises:
        RequestError: 413 if the body is too large, 408 if it takes longer than the timeout or ends
            early, 503 if the bodies of other requests occupy the memory.
        ClientDisconnectedError: If the client disconnects first.
    """
    # One buffer that grows in place takes less memory than a list of parts and their sum.
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                message = await context.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnectedError
                part: bytes = message["body"]
                if len(body) + len(part) > max_bytes:
                    raise _body_too_large(max_bytes)
                if not message["more_body"] and not body:
                    return part
                body += part
                if not message["more_body"]:
                    # Not a copy: for a moment, that would take the memory of two bodies.
                    return memoryview(body)
    except TimeoutError as error:
        raise RequestError(
            408,
            f"Timed out after {timeout_seconds:g} s while reading the request body. "
            "Send the request again.",
        ) from error


async def send_json(context: RequestContext, status: int, content: object) -> None:
    """Send `content` as JSON."""
    await send_response(context, status, b"application/json", msgspec.json.encode(content))


async def send_error(context: RequestContext, status: int, message: str) -> None:
    """Send an error response."""
    await send_response(context, status, b"application/json", error_body(message))


async def send_response(
    context: RequestContext, status: int, content_type: bytes, body: bytes
) -> None:
    """Send a complete response of the gateway."""
    length = str(len(body)).encode()
    headers = [(b"content-type", content_type), (b"content-length", length)]
    await start_response(context, status, headers)
    await send_body_part(context, body, is_last=True)


async def start_response(context: RequestContext, status: int, headers: RawHeaders) -> None:
    """Send the status, `headers`, and the headers that the context has collected.

    An ingress controller that would replace a 500 gets a 502 with the same body.
    """
    if status == 500 and context.header_values(_UNKNOWN_LENGTH):
        status = 502
    context.status = status
    context.response_started = True
    added = [(name.encode(), value.encode()) for name, value in context.response_headers.items()]
    await context.send({
        "type": "http.response.start", "status": status, "headers": headers + added,
    })  # fmt: skip


async def send_body_part(context: RequestContext, part: bytes, *, is_last: bool) -> None:
    """Send a part of the response body."""
    context.response_bytes += len(part)
    await context.send({"type": "http.response.body", "body": part, "more_body": not is_last})


def _body_too_large(max_bytes: int) -> RequestError:
    return RequestError(
        413, f"The request body exceeds {max_bytes} bytes. Send fewer rows in each request."
    )
