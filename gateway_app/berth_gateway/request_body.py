"""Request bodies: read completely and within limits, so that a request can be sent again."""

import asyncio

from berth_protocol.asgi import RawHeaders, Receive
from berth_protocol.errors import RequestError


class ClientDisconnectedError(Exception):
    """The client closed its connection before it sent the whole request."""


def check_content_length(headers: RawHeaders, max_bytes: int) -> None:
    """Check the announced length before the body is read.

    Raises:
        RequestError: 411 if there is no length and no chunked encoding, 413 if the body is too
            large.
    """
    values = dict(headers)
    if b"content-length" in values:
        if int(values[b"content-length"]) > max_bytes:
            raise _body_too_large(max_bytes)
    elif b"transfer-encoding" not in values:
        raise RequestError(
            411, "Content-Length is missing. Send the inference request with a body and its length."
        )


async def read_body(receive: Receive, max_bytes: int, timeout_seconds: float) -> bytes:
    """Read the whole body.

    Raises:
        RequestError: 413 if the body is too large, 408 if it takes longer than the timeout.
        ClientDisconnectedError: If the client disconnects first.
    """
    parts: list[bytes] = []
    length = 0
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnectedError
                parts.append(message["body"])
                length += len(message["body"])
                if length > max_bytes:
                    raise _body_too_large(max_bytes)
                if not message["more_body"]:
                    return b"".join(parts)
    except TimeoutError as error:
        raise RequestError(
            408,
            f"Timed out after {timeout_seconds:g} s while reading the request body. "
            "Send the request again.",
        ) from error


def _body_too_large(max_bytes: int) -> RequestError:
    return RequestError(
        413, f"The request body exceeds {max_bytes} bytes. Send fewer rows in each request."
    )
