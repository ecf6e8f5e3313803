"""A request's body, read whole and bounded, so that it can be sent again."""

import asyncio

from berth_gateway.exchange import RawHeaders, Receive
from berth_gateway.refusal import RefusalError


class ClientLeftError(Exception):
    """The client closed its connection before it had sent the whole request."""


def check_length(headers: RawHeaders, max_bytes: int) -> None:
    """Look at the length that the client announces, before anything of the body is read.

    Raises:
        RefusalError: 411 when there is neither a length nor chunks, 413 when it is too long.
    """
    names = dict(headers)
    if b"content-length" in names:
        if int(names[b"content-length"]) > max_bytes:
            raise _too_long(max_bytes)
    elif b"transfer-encoding" not in names:
        raise RefusalError(411, "an inference request needs a body, with its Content-Length")


async def read_body(receive: Receive, max_bytes: int, seconds: float) -> bytes:
    """The whole body.

    Raises:
        RefusalError: 413 above `max_bytes`, 408 when it takes more than `seconds`.
        ClientLeftError: it never came.
    """
    parts: list[bytes] = []
    length = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeftError
                parts.append(message["body"])
                length += len(message["body"])
                if length > max_bytes:
                    raise _too_long(max_bytes)
                if not message["more_body"]:
                    return b"".join(parts)
    except TimeoutError as error:
        raise RefusalError(408, f"the request's body did not come within {seconds:g} s") from error


def _too_long(max_bytes: int) -> RefusalError:
    return RefusalError(413, f"the request's body is longer than the {max_bytes} bytes let through")
