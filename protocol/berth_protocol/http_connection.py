"""One HTTP/1.1 connection of a client: uvicorn's protocol with bounds on all that a client sends.

What uvicorn does not bound or answers without a body: heads, trailers, the framing of chunks,
pipelined requests, slow and half-closed connections, and bodies that nobody reads.
"""

import asyncio
import http
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from berth_protocol.body_memory import SMALL_BODY_BYTES, BodyMemory
from berth_protocol.errors import RequestError, error_body
from berth_protocol.http_exchange import MAX_DISCARDED_BYTES, Exchange, ResponseTransport
from berth_protocol.http_head import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    VERSIONS,
    find_head_error,
    framing_too_long,
    head_size,
    head_too_long,
    too_many_headers,
)
from berth_protocol.slow_clients import ResponseWatch, SlowClients

HEAD_SECONDS = 30.0
WRITE_SECONDS = 60.0

_MAX_PIPELINED = 64
# A chunk of one byte has 5 bytes of framing, "1\r\n" and "\r\n". Go's server allows 16:
# https://github.com/golang/go/blob/go1.23.0/src/net/http/internal/chunked.go
_FRAMING_PER_BODY_BYTE = 16
_CLOSE = (b"connection", b"close")


class _State(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()


class HttpConnection(HttpToolsProtocol):
    """One connection of a client.

    Every error has the protocol's JSON format, and reaches the client: if a response is complete
    before its request, the connection discards the rest of the request, within `head_seconds` and
    `MAX_DISCARDED_BYTES`. Closing at once would reset the connection, and most clients then report
    the reset instead of the response.

    - A head longer than 64 KiB or with more than 256 headers gets 431, and so do longer trailers
      and chunk extensions. Trailers are dropped: a header that arrives after the body was neither
      authenticated nor limited.
    - A client that is too slow gets 408 if a response is due; otherwise its connection is closed.
      A client that ends its side before the end of a body gets 408 as well.
    - The connection ignores `Upgrade`, which Java's HTTP client sends by default. httptools stops
      at the end of such a head and would lose the body, so the head is parsed again without it.

    Args:
        body_memory: Memory for the bodies of all connections.
        on_trailer: Called for each trailer that is dropped.
        head_seconds: Time limit for a head, from its first byte. It also limits how long a new
            connection may be silent, and how long a rejected body may continue.
        request_seconds: Time limit for a whole request, from its first byte; replaces
            `head_seconds` there. If None, the application limits how long a body takes. A timer
            here costs nothing for a request that arrives in one piece, as nearly all do.
        write_seconds: How long a client may take nothing of a long response, which occupies memory
            meanwhile.
        slow_clients: Memory of the heads that clients send slowly, and of the responses that they
            take slowly, of all connections. None for no limit.
        responds_after_request: Whether a response waits for the end of its request, within
            `head_seconds`. A reverse proxy that gets an earlier response may close the client's
            connection at once, as Go's server does if more than 256 KiB of the body are left
            (`maxPostHandlerReadBytes`):
            https://github.com/golang/go/blob/go1.26.0/src/net/http/server.go
        max_requests: Number of requests after which the connection is closed. Where an address is
            balanced by connection, such as that of a Kubernetes Service, connections that are kept
            would otherwise never reach a server that was added. None keeps a connection.
    """

    def __init__(
        self,
        *,
        body_memory: BodyMemory,
        on_trailer: Callable[[], None],
        head_seconds: float = HEAD_SECONDS,
        request_seconds: float | None = None,
        write_seconds: float = WRITE_SECONDS,
        slow_clients: SlowClients | None = None,
        responds_after_request: bool = False,
        max_requests: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._body_memory = body_memory
        self._on_trailer = on_trailer
        self._head_seconds = head_seconds
        self._request_seconds = request_seconds
        self._state = _State.IDLE
        self._head_bytes = 0  # Length of the current head before the current data.
        self._data_bytes = 0
        self._is_head_held = False  # Whether `slow_clients` counts the current head.
        self._is_only_head = False  # Whether the current data has only bytes of this head.
        self._body_bytes = 0  # Bytes of bodies in the current data.
        self._framing_bytes = 0
        self._trailer_bytes = 0
        self._discarded_bytes = 0
        self._hosts: list[bytes] = []
        self._codings: list[bytes] = []
        self._error: RequestError | None = None
        self._is_input_closed = False  # Whether the connection ignores all further data.
        self._has_eof = False
        self._is_lingering = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_seconds = 0.0
        self._write_seconds = write_seconds
        self._slow_clients = slow_clients
        self._discard_seconds = head_seconds if responds_after_request else None
        self._remaining_requests = max_requests

    @property
    def _exchange(self) -> Exchange | None:
        """The exchange of the request that began last."""
        return cast("Exchange | None", self.cycle)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._response_transport = cast(
            "asyncio.Transport", ResponseTransport(transport, self._close_after_response)
        )
        self._response_watch = ResponseWatch(transport, self._write_seconds, self._slow_clients)
        self._start_timer(self._head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._release_head()
        self._response_watch.stop()
        if self._exchange is not None:
            self._body_memory.stop_waiting(self._exchange)
        for exchange, _ in self.pipeline:
            cast("Exchange", exchange).release()
        self.pipeline.clear()
        # Without this reference to itself, the connection is freed at once.
        self._response_transport.close = self.transport.close  # type: ignore[method-assign]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._is_input_closed:
            self._discard(len(data))
            return
        self._data_bytes = len(data)
        self._is_only_head = self._state is not _State.BODY
        is_only_body = not self._is_only_head
        self._body_bytes = 0
        exchange = self._exchange
        try:
            self._parse(data)
        except httptools.HttpParserError:
            error, self._error = self._error, None
            if error is None:
                error = RequestError(400, "Invalid HTTP request. Send an HTTP/1.1 request.")
            # The frames of a traceback would keep the data while the connection lingers.
            self._reject(error.with_traceback(None))
            return
        if self.transport.is_closing():
            return
        if self._state is _State.HEAD:
            self._check_unfinished_head(data)
        elif self._state is _State.BODY and is_only_body and self._exchange is exchange:
            self._check_framing()
        if self._timer is None and not self._is_input_closed:
            self._start_timer_if_needed()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Respond to the requests that are complete, and reject one that is not."""
        exchange = self._exchange
        if self._is_lingering or self.transport.is_closing():
            return False
        self._has_eof = True
        if self._state is not _State.IDLE and not self._is_input_closed:
            if self._state is _State.HEAD:
                self._reject(
                    RequestError(400, "The request ended within its head. Send all of it.")
                )
            else:
                self._reject(
                    RequestError(
                        408,
                        "The connection ended before the request body was complete."
                        " Send the request again.",
                    )
                )
        if exchange is None or exchange.response_complete:
            return False
        exchange.keep_alive = False
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._response_watch.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._response_watch.stop()

    def on_message_begin(self) -> None:
        self._state = _State.HEAD
        self._head_bytes = 0
        self._framing_bytes = 0
        self._trailer_bytes = 0
        self._discarded_bytes = 0
        self._hosts = []
        self._codings = []
        self._stop_timer()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._state is _State.BODY:
            self._drop_trailer(name, value)
            return
        if len(self.headers) >= MAX_HEADERS:
            raise self._fail(too_many_headers())
        name = name.lower()
        value = value.rstrip(b" \t")
        if name == b"host":
            self._hosts.append(value)
        elif name == b"transfer-encoding":
            self._codings.append(value)
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._release_head()
        # A head in one piece; the sizes are added up only where they can be too large.
        can_be_too_long = self._head_bytes + self._data_bytes > MAX_HEAD_BYTES
        if can_be_too_long and head_size(self.url, self.headers) > MAX_HEAD_BYTES:
            raise self._fail(head_too_long())
        if self.parser.should_upgrade():
            return
        version = self.parser.get_http_version()
        if (error := find_head_error(version, self.url, self._hosts, self._codings)) is not None:
            raise self._fail(error)
        exchange = self._begin_exchange(version)
        self._state = _State.BODY
        self._is_only_head = False
        if self._request_seconds is None:
            self._stop_timer()
        length = next((value for name, value in self.headers if name == b"content-length"), None)
        if length is not None:
            exchange.length = int(length)
            if exchange.length > SMALL_BODY_BYTES:
                exchange.is_long = True
                self.flow.pause_reading()
        previous, self.cycle = self._exchange, exchange
        app = self.app
        if previous is None or previous.response_complete:
            self._start_asgi_task(exchange, app)
            return
        if len(self.pipeline) >= _MAX_PIPELINED:
            self.cycle = previous
            self._state = _State.IDLE
            raise self._fail(RequestError(400, "Too many pipelined requests."))
        self.flow.pause_reading()
        self.pipeline.appendleft((exchange, app))

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        assert exchange is not None
        size = len(body)
        self._body_bytes += size
        if exchange.response_complete or exchange.error is not None or exchange.is_discarding:
            self._discard(size)
            return
        exchange.received_bytes += size
        missing = exchange.received_bytes - exchange.held_bytes
        if missing > 0:
            try:
                self._body_memory.reserve(missing, exchange.held_bytes)
            except RequestError as error:
                exchange.reject(error, is_malformed=False)
                return
            exchange.held_bytes += missing
        if exchange.received_bytes > SMALL_BODY_BYTES:
            exchange.is_long = True
        exchange.body += body
        if len(exchange.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        exchange.message_event.set()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._state = _State.IDLE
        self._stop_timer()
        exchange = self._exchange
        if exchange is not None and exchange.held_bytes > exchange.received_bytes:
            surplus = exchange.held_bytes - exchange.received_bytes
            exchange.held_bytes -= surplus
            self._body_memory.release(surplus)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._is_lingering:
            self.server_state.total_requests += 1
        else:
            super().on_response_complete()

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

    def _begin_exchange(self, version: str) -> Exchange:
        target = httptools.parse_url(self.url)
        path = target.path or b"/"
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["path"] = unquote(path.decode("ascii"))
        self.scope["raw_path"] = path
        self.scope["query_string"] = target.query or b""
        default_headers = self.server_state.default_headers
        if self._remaining_requests is not None:
            self._remaining_requests -= 1
            if self._remaining_requests <= 0:
                default_headers = [*default_headers, _CLOSE]
        exchange = Exchange(
            scope=self.scope,
            transport=self._response_transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version == "1.1" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        exchange.body_memory = self._body_memory
        exchange.discard_seconds = self._discard_seconds
        return exchange

    def _drop_trailer(self, name: bytes, value: bytes) -> None:
        self._on_trailer()
        self._trailer_bytes += head_size(b"", [(name, value)])
        if self._trailer_bytes > MAX_HEAD_BYTES:
            raise self._fail(framing_too_long())

    def _check_unfinished_head(self, data: bytes) -> None:
        if self._is_only_head:
            self._head_bytes += self._data_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            self._reject(head_too_long())
        elif self._slow_clients is not None:
            self._is_head_held = True
            self._slow_clients.hold_head(self, self._head_bytes, len(self.headers))
        if b"\n" in data.lstrip(b"\r\n") and self.parser.get_http_version() not in VERSIONS:
            # A request of HTTP/0.9 is one line; the parser would wait for more.
            self._reject(RequestError(400, "HTTP/0.9 is not supported. Send an HTTP/1.1 request."))

    def drop(self) -> None:
        """Close the connection of a client that sends its head too slowly.

        The head is freed now. The end of the connection follows after all data that has arrived on
        others, which can be as many heads.
        """
        self._is_input_closed = True
        self.headers.clear()
        self.parser = httptools.HttpRequestParser(self)
        self.transport.abort()

    def _release_head(self) -> None:
        if self._is_head_held and self._slow_clients is not None:
            self._is_head_held = False
            self._slow_clients.release(self)

    def _check_framing(self) -> None:
        """Limit the bytes of a chunked body that are not data: sizes, extensions and trailers.

        httptools collects an unfinished trailer, copying it for each piece that arrives.
        """
        excess = self._data_bytes - self._body_bytes - _FRAMING_PER_BODY_BYTE * self._body_bytes
        self._framing_bytes = max(0, self._framing_bytes + excess)
        if self._framing_bytes > MAX_HEAD_BYTES:
            self._reject(framing_too_long())

    def _fail(self, error: RequestError) -> RequestError:
        """Keep an error that a parser callback raises: httptools raises its own one instead."""
        self._error = error
        return error

    def _reject(self, error: RequestError) -> None:
        """Ignore all further data, and respond with an error if the client expects a response now.

        Responses to earlier requests come first, without this error: a client could not tell to
        which request it belongs.
        """
        if self.transport.is_closing() or self._is_input_closed:
            return
        self._is_input_closed = True
        self._stop_timer()
        self._release_head()
        if self._state is _State.HEAD:
            self.headers.clear()
        exchange = self._exchange
        if exchange is None or exchange.response_complete:
            if self._state is not _State.BODY:
                self._write_error(error)
            self._close_after_response()
            return
        if self._state is _State.BODY and not exchange.response_started:
            exchange.reject(error, is_malformed=True)
        exchange.keep_alive = False
        self.flow.resume_reading()

    def _write_error(self, error: RequestError) -> None:
        body = error_body(error.message)
        head = (
            f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)

    def _close_after_response(self) -> None:
        """Close the connection, but let the client finish a request that is not complete.

        The end of the server's side tells the client that the response is complete.
        """
        is_request_complete = self._state is not _State.BODY and not self._is_input_closed
        if self._is_lingering or self.transport.is_closing():
            return
        if is_request_complete or self._has_eof or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._is_lingering = self._is_input_closed = True
        self._stop_timer()
        self._timer = self.loop.call_later(self._head_seconds, self.transport.abort)
        self.flow.resume_reading()
        self.transport.write_eof()

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > MAX_DISCARDED_BYTES:
            self.transport.abort()

    def _start_timer_if_needed(self) -> None:
        exchange = self._exchange
        if self._state is _State.HEAD:
            self._start_timer(self._request_seconds or self._head_seconds)
        elif self._state is _State.BODY and self._request_seconds is not None:
            self._start_timer(self._request_seconds)
        elif exchange is None or exchange.response_complete:
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
        exchange = self._exchange
        is_response_complete = exchange is not None and exchange.response_complete
        if self._state is _State.IDLE or (self._state is _State.BODY and is_response_complete):
            self.transport.close()
        else:
            self._reject(
                RequestError(
                    408, f"Timed out after {self._timer_seconds:g} s while reading the request."
                )
            )
