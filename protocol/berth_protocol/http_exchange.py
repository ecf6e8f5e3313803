"""One request and its response: uvicorn's, with a bounded body and errors in the JSON format."""

import asyncio
import contextlib
import http
from collections.abc import Callable
from typing import cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from berth_protocol.asgi import App, Message, Receive, Scope, Send
from berth_protocol.body_memory import PART_BYTES, BodyMemory
from berth_protocol.errors import RequestError, error_body

MAX_DISCARDED_BYTES = 1 << 30
"""Maximum length of the rest of a request that is discarded after its response: the largest
`max_body_bytes` of a specification."""


class ClientGoneError(ConnectionError):
    """The connection was closed before the end of the response."""


class ResponseTransport:
    """The transport as uvicorn's response code sees it: to close it waits for the request."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class Exchange(RequestResponseCycle):
    """One request and its response.

    Attributes:
        body_memory: Counts the bytes of the body. Set once, right after the creation.
        held_bytes: Bytes that `body_memory` counts for this request.
        received_bytes: Bytes of the body that have arrived.
        length: Length of the body as its head states it. None for chunks.
        is_long: Whether the body is long, so that reading it waits for room in `body_memory`.
        error: Why the body will never be complete. `receive` raises it.
        is_malformed: Whether `error` is the response, if the application has not begun.
        discard_seconds: Time limit to discard the rest of the request before the response. None
            sends the response at once.
        is_discarding: Whether the connection discards the rest of the body.
        is_receiving: Whether the application waits for the next part of the body.
    """

    body_memory: BodyMemory
    held_bytes = 0
    received_bytes = 0
    length: int | None = None
    is_long = False
    error: RequestError | None = None
    is_malformed = False
    discard_seconds: float | None = None
    is_discarding = False
    is_receiving = False

    async def run_asgi(self, app: App) -> None:  # type: ignore[override]
        """Run the application. A `RequestError` that it does not catch becomes a response."""

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                if self.error is not None and self.is_malformed:
                    raise self.error
                await app(scope, receive, send)
            except RequestError as error:
                if self.response_started:
                    raise
                await self._send_error(error)
            except ClientGoneError:
                pass  # Nobody waits for the rest.

        try:
            await super().run_asgi(run)  # type: ignore[arg-type]
        finally:
            self.release()

    async def receive(self) -> Message:  # type: ignore[override]
        """Return the next part of the body.

        Raises:
            RequestError: If the body will never be complete, or occupies too much memory.
        """
        if self.is_long and self.more_body and not self.body and self.error is None:
            await self._wait_for_room()
        message = None
        if self.error is None:
            self.is_receiving = True
            try:
                message = await super().receive()
            finally:
                self.is_receiving = False
        if self.error is not None:
            # A new exception, see `reject`.
            raise RequestError(self.error.status, self.error.message, self.error.headers)
        return cast("Message", message)

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """Send a part of the response.

        Raises:
            ClientGoneError: If the connection is closed and the response has further parts. Version
                2.4 of ASGI requires an error (https://asgi.readthedocs.io/en/latest/specs/www.html),
                and uvicorn raises none.
        """
        if message["type"] == "http.response.start" and self.more_body:
            if self._must_close(message):
                self.keep_alive = False
            elif self.discard_seconds is not None:
                await self._discard_rest(self.discard_seconds)
        await super().send(message)  # type: ignore[arg-type]
        if self.disconnected and message.get("more_body"):
            raise ClientGoneError

    async def send_500_response(self) -> None:
        """Send the response after an exception in the application."""
        await self._send_error(RequestError(500, "Internal error. Look it up in the log."))

    def reject(self, error: RequestError, *, is_malformed: bool) -> None:
        """Let `receive` raise an error, and discard the body.

        Args:
            is_malformed: Whether the connection cannot continue after this request.
        """
        if self.body_memory.is_waiting(self):
            error = self.body_memory.build_error()
            self.body_memory.stop_waiting(self)
        # The frames of a traceback would keep the body until the next garbage collection.
        self.error = error.with_traceback(None)
        self.is_malformed = is_malformed
        self.body = bytearray()
        if is_malformed:
            self.keep_alive = False
        self.message_event.set()

    def is_arriving(self) -> bool:
        """Return whether the application waits for the client to send more of the body."""
        return self.is_receiving and self.more_body and not self.disconnected

    def drop_stalled(self) -> None:
        """Reject a body that arrives too slowly while others wait for its memory."""
        self.reject(
            RequestError(
                408,
                "The request body arrived too slowly, while other requests waited for its memory."
                " Send the request again without pauses.",
            ),
            is_malformed=False,
        )

    def release(self) -> None:
        """Stop counting the body."""
        self.body = bytearray()
        if self.held_bytes or self.is_long:
            self.body_memory.remove(self)

    async def _wait_for_room(self) -> None:
        expected = self.received_bytes + PART_BYTES
        if self.length is not None:
            expected = min(expected, self.length)
        size = expected - self.held_bytes
        if size <= 0:
            return
        self.flow.pause_reading()
        try:
            await self.body_memory.wait_for_room(self, size)
        except asyncio.CancelledError:
            # The time limit of the application. The client was not slow, so 408 would be wrong.
            raise self.body_memory.build_error() from None

    async def _discard_rest(self, seconds: float) -> None:
        """Discard the rest of the request, which no longer occupies memory."""
        self.is_discarding = True
        self.release()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.more_body and not self.disconnected and not self.is_malformed:
                    self.message_event.clear()
                    self.flow.resume_reading()
                    await self.message_event.wait()

    def _must_close(self, message: Message) -> bool:
        """Return whether a response to an unfinished request ends the connection.

        A client that waits for `100 Continue` may omit the body. What it sends next could then be
        mistaken for it.
        """
        length = next((v for k, v in self.scope["headers"] if k == b"content-length"), b"0")
        return (
            self.waiting_for_100_continue
            or message["status"] == http.HTTPStatus.REQUEST_TIMEOUT
            or int(length) > MAX_DISCARDED_BYTES
        )

    async def _send_error(self, error: RequestError) -> None:
        body = error_body(error.message)
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **error.headers,
        }
        await self.send({
            "type": "http.response.start",
            "status": error.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        })  # fmt: skip
        await self.send({"type": "http.response.body", "body": body})
