"""Reading a request body with bounded memory."""

from collections.abc import Mapping

from berth_protocol.asgi import Message, Receive
from berth_protocol.errors import RequestError, overload_error


class BodyReader:
    """Reads request bodies.

    Args:
        max_bytes: Maximum length of one body.
        max_concurrent: Maximum number of bodies that arrive in several parts at the same time,
            because each occupies memory until it is complete.
    """

    def __init__(self, max_bytes: int, *, max_concurrent: int) -> None:
        self._max_bytes = max_bytes
        self._max_concurrent = max_concurrent
        self._arriving = 0

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Return the whole body of a request.

        Raises:
            RequestError: 413 if the body is too long, 408 if it ends early or takes too long, 503
                if too many bodies are arriving or occupy the memory.
        """
        # httptools accepts only a valid length, of at most 20 digits.
        if int(headers.get(b"content-length", b"0")) > self._max_bytes:
            raise self._too_long()
        message = await receive()
        if message.get("more_body"):
            return await self._read_parts(message, receive)
        if message["type"] == "http.disconnect":
            raise _disconnected()
        body: bytes = message.get("body", b"")
        if len(body) > self._max_bytes:
            raise self._too_long()
        return body

    async def _read_parts(self, message: Message, receive: Receive) -> bytes:
        if self._arriving >= self._max_concurrent:
            raise overload_error(
                f"The berth is already receiving {self._arriving} request bodies. Retry later."
            )
        self._arriving += 1
        try:
            body = bytearray(message.get("body", b""))
            while message.get("more_body"):
                message = await receive()
                body += message.get("body", b"")
                if len(body) > self._max_bytes:
                    raise self._too_long()
        finally:
            self._arriving -= 1
        if message["type"] == "http.disconnect":
            raise _disconnected()
        return bytes(body)

    def _too_long(self) -> RequestError:
        return RequestError(
            413,
            f"The request body exceeds the limit of {self._max_bytes} bytes."
            " Send fewer rows in each request.",
        )


def _disconnected() -> RequestError:
    return RequestError(
        408, "The connection closed, or timed out, before the request body was complete."
    )
