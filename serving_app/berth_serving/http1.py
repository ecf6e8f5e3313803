"""HTTP/1 as uvicorn speaks it, for clients that are slow or would rather speak something else."""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD_BYTES = 65536


class Http1(HttpToolsProtocol):
    """One connection of a client.

    Java's HTTP client wishes to upgrade to HTTP/2 by default. httptools takes what follows such a
    head for that other protocol, so the body would be lost, or read as the next request. The wish
    is not heard: the head is read again without it, and the request answered as HTTP/1.

    A request must be whole within `request_seconds` of its first part. The timer is here and not
    in the app because a request that comes in one piece, as nearly all do, then costs none. A
    head is no longer than 64 KiB, which httptools does not see to.
    """

    def __init__(self, *, request_seconds: float, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._request_seconds = request_seconds
        self._request_timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # One that never asks anything is as idle as one between two requests.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("this is not a valid HTTP request")
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large", b"the head is too long")
                return
        elif self.cycle is None or not self.cycle.more_body:
            return
        if self._request_timer is None:
            self._request_timer = self.loop.call_later(self._request_seconds, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._stop_waiting()
            super().on_message_complete()

    def _stop_waiting(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _too_slow(self) -> None:
        self._request_timer = None
        self._refuse(
            b"408 Request Timeout", b"the request did not come within %g s" % self._request_seconds
        )

    def _refuse(self, status: bytes, message: bytes) -> None:
        """Close the connection, with an error where no answer is due or begun before it."""
        if self._in_head:
            unanswered = self.cycle is None or self.cycle.response_complete
        else:
            unanswered = not self.cycle.response_started
        if unanswered:
            body = b'{"error":"%s"}' % message
            self.transport.write(
                b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (status, len(body), body)
            )
        self.transport.close()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            method = self.parser.get_method()
            if method == b"CONNECT":
                raise httptools.HttpParserInvalidMethodError("CONNECT") from upgrade
            kept = [(name, value) for name, value in self.headers if name != b"upgrade"]
            version = self.parser.get_http_version().encode()
            head = b"%s %s HTTP/%s\r\n" % (method, self.url, version)
            head += b"".join(b"%s: %s\r\n" % header for header in kept) + b"\r\n"
            self.parser = httptools.HttpRequestParser(self)
            self._feed(head + data[upgrade.args[0] :])
