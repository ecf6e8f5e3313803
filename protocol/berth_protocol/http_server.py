"""The HTTP/1.1 server of Berth's programs: uvicorn with bounded heads, timeouts and no upgrades."""

import asyncio
import contextlib
import http
import socket
from collections.abc import Iterator
from enum import Enum, auto
from functools import partial
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from berth_protocol.asgi import App
from berth_protocol.errors import error_body

MAX_HEAD_BYTES = 64 << 10
HEAD_SECONDS = 30.0

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75


class _State(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()


class HttpConnection(HttpToolsProtocol):
    """One connection of a client.

    A head longer than 64 KiB gets 431. A client that is too slow gets 408 if a response is due;
    otherwise its connection is closed. Every error has the protocol's JSON format.

    The connection ignores `Upgrade`, which Java's HTTP client sends by default. httptools stops at
    the end of such a head and would lose the body, so the head is parsed again without `Upgrade`.

    Args:
        head_seconds: Time limit for a head, from its first byte. It also limits how long a new
            connection may be silent, and how long a rejected body may continue.
        request_seconds: Time limit for a whole request, from its first byte; replaces
            `head_seconds` there. If None, the application limits how long a body takes. A timer
            here costs nothing for a request that arrives in one piece, as nearly all do.
    """

    def __init__(
        self,
        *,
        head_seconds: float = HEAD_SECONDS,
        request_seconds: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._head_seconds = head_seconds
        self._request_seconds = request_seconds
        self._state = _State.IDLE
        self._head_bytes = 0  # Length of the current head before the current chunk.
        self._chunk_bytes = 0
        self._is_only_head = False  # Whether the current chunk has only bytes of this head.
        self._is_head_too_long = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_seconds = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer(self._head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._chunk_bytes = len(data)
        self._is_only_head = self._state is not _State.BODY
        try:
            self._parse(data)
        except httptools.HttpParserError:
            if self._is_head_too_long:
                self._reject_head()
            else:
                self._reject(400, "Invalid HTTP request. Send an HTTP/1.1 request.")
            return
        if self.transport.is_closing():
            return
        if self._state is _State.HEAD:
            if self._is_only_head:
                self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._reject_head()
                return
        if self._timer is None:
            self._start_timer_if_needed()

    def on_message_begin(self) -> None:
        self._state = _State.HEAD
        self._head_bytes = 0
        self._stop_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        # A head in one large chunk; the sizes are added up only where they can be too large.
        if self._head_bytes + self._chunk_bytes > MAX_HEAD_BYTES:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > MAX_HEAD_BYTES:
                self._is_head_too_long = True
                raise ValueError("the head is too long")
        if self.parser.should_upgrade():
            return
        super().on_headers_complete()
        self._state = _State.BODY
        self._is_only_head = False
        if self._request_seconds is None:
            self._stop_timer()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._state = _State.IDLE
        self._stop_timer()
        super().on_message_complete()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            method = self.parser.get_method()
            if method == b"CONNECT":
                raise httptools.HttpParserInvalidMethodError("CONNECT") from upgrade
            version = self.parser.get_http_version().encode()
            lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
            lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
            head = b"\r\n".join(lines) + b"\r\n\r\n"
            self.parser = httptools.HttpRequestParser(self)
            self._parse(head + data[upgrade.args[0] :])

    def _start_timer_if_needed(self) -> None:
        is_response_complete = self.cycle is None or self.cycle.response_complete
        if self._state is _State.HEAD:
            self._start_timer(self._request_seconds or self._head_seconds)
        elif self._state is _State.BODY and self._request_seconds is not None:
            self._start_timer(self._request_seconds)
        elif is_response_complete:
            # Bytes between requests, or the rest of a body that was rejected, which uvicorn's
            # own timer does not cover.
            self._start_timer(self._head_seconds)

    def _start_timer(self, seconds: float) -> None:
        self._timer_seconds = seconds
        self._timer = self.loop.call_later(seconds, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        self._timer = None
        if self._state is _State.IDLE:
            self.transport.close()
        else:
            self._reject(
                408, f"Timed out after {self._timer_seconds:g} s while reading the request."
            )

    def _reject_head(self) -> None:
        self._reject(431, f"The request head exceeds {MAX_HEAD_BYTES} bytes. Send fewer headers.")

    def _reject(self, status: int, message: str) -> None:
        """Close the connection, after an error response if the client expects a response now."""
        if self.transport.is_closing():
            return
        if self._state is _State.BODY:
            is_response_due = not self.cycle.response_started and not self.pipeline
        else:
            is_response_due = self.cycle is None or self.cycle.response_complete
        if is_response_due:
            body = error_body(message)
            head = (
                f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\n"
                "content-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signals to its process, which may run several servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers unchanged."""
        yield

    def stop(self, grace_seconds: float) -> None:
        """Stop accepting connections, and finish requests in flight within `grace_seconds`."""
        # uvicorn declares whole seconds but accepts any number.
        self.config.timeout_graceful_shutdown = grace_seconds  # type: ignore[assignment]
        self.should_exit = True


def server_config(
    app: App,
    *,
    request_seconds: float | None = None,
    date_header: bool = True,
) -> uvicorn.Config:
    """Return the configuration of a server for `app`.

    Args:
        request_seconds: See `HttpConnection`.
        date_header: Send a `Date` header. A berth does not, because the gateway sends its own.
    """
    return uvicorn.Config(
        app,
        http=partial(HttpConnection, request_seconds=request_seconds),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=date_header,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )


def bind(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """Return a socket that is bound but does not listen yet; see `listen`.

    Args:
        reuse_port: Let other processes of this user bind to the same port.

    Raises:
        OSError: If the address is in use or does not exist.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def listen(bound: socket.socket) -> None:
    """Accept connections on a bound socket."""
    bound.listen(_BACKLOG)
