"""HTTP/1 as uvicorn speaks it, for clients that are slow or would rather speak something else."""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Http1(HttpToolsProtocol):
    """One connection of a client.

    Java's HTTP client wishes to upgrade to HTTP/2 by default. httptools takes what follows such a
    head for that other protocol, so the body would be lost, or read as the next request. The wish
    is not heard: the head is read again without it, and the request answered as HTTP/1.

    A body must be whole within `body_seconds` of its first part. The timer is here and not in the
    app because a body that comes with its head, as nearly all do, then costs none.
    """

    def __init__(self, *, body_seconds: float, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._body_seconds = body_seconds
        self._body_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("this is not a valid HTTP request")
            return
        if self._body_timer is None and self.cycle is not None and self.cycle.more_body:
            self._body_timer = self.loop.call_later(self._body_seconds, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._stop_waiting()
            super().on_message_complete()

    def _stop_waiting(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _too_slow(self) -> None:
        self._body_timer = None
        if not self.cycle.response_started:
            body = b'{"error":"the body did not come within %g s"}' % self._body_seconds
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body)
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
