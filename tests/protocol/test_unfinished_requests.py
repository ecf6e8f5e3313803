"""Requests that never end, or end after their response: the client gets its response."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from berth_protocol import http_connection
from berth_protocol.asgi import Receive, Scope, Send
from tests.protocol.connection import GET, LIMIT_SECONDS, LONG_RESPONSE, POST, Server, connect, run

_BODY = b"x" * 3_000_000
_CLOSE = b"connection: close\r\n"


def _send_all(port: int, sent: bytes) -> bytes:
    """Send a request as most clients do: read the response after everything was sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


async def _send_slowly(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(LIMIT_SECONDS / 10)


def _build_length_body(head: bytes) -> bytes:
    return POST.replace(b"host", head + b"host") % len(_BODY) + _BODY


def _build_chunked_body(head: bytes) -> bytes:
    chunk = b"%x\r\n%b\r\n" % (len(_BODY) // 3, _BODY[: len(_BODY) // 3])
    start = b"POST / HTTP/1.1\r\nhost: x\r\n" + head + b"transfer-encoding: chunked\r\n\r\n"
    return start + chunk * 3 + b"0\r\n\r\n"


@pytest.mark.parametrize("build", [_build_length_body, _build_chunked_body])
async def test_client_that_sends_whole_body_gets_early_response(
    build: Callable[[bytes], bytes],
) -> None:
    async with run(Server()) as server:
        for _ in range(5):
            response = await asyncio.to_thread(_send_all, server.port, build(_CLOSE))
            assert response.startswith(b"HTTP/1.1 200 ")
            assert response.endswith(b"ok")


@pytest.mark.parametrize("build", [_build_length_body, _build_chunked_body])
async def test_connection_continues_after_body_of_early_response(
    build: Callable[[bytes], bytes],
) -> None:
    async with connect() as (reader, writer):
        for _ in range(3):
            writer.write(build(b""))
            await writer.drain()
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


async def _expect_no_response(server: Server, reader: asyncio.StreamReader) -> None:
    """Check that the server sent nothing, although it had the time to respond to a new request."""
    other, writer = await server.open()
    writer.write(GET)
    await other.readuntil(b"ok")
    writer.close()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), LIMIT_SECONDS)


@pytest.mark.parametrize("build", [_build_length_body, _build_chunked_body])
async def test_response_waits_for_the_end_of_its_request_if_the_server_says_so(
    build: Callable[[bytes], bytes],
) -> None:
    server = Server()
    async with connect(server, responds_after_request=True) as (reader, writer):
        for _ in range(2):
            request = build(b"")
            writer.write(request[:-1])
            await writer.drain()
            await _expect_no_response(server, reader)
            assert server.body_memory.used_bytes == 0
            writer.write(request[-1:])
            response = await reader.readuntil(b"ok")
            assert response.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" not in response


@pytest.mark.parametrize(
    "rest",
    [b"x", b"x" * 50],
    ids=["silent", "slow"],
)
async def test_response_that_waits_for_its_request_is_sent_at_the_time_limit(rest: bytes) -> None:
    server = Server()
    async with connect(server, responds_after_request=True, head_seconds=LIMIT_SECONDS) as streams:
        reader, writer = streams
        writer.write(POST % 100 + rest)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /body HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz", b"400"),
        (
            b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n",
            b"200",
        ),
    ],
    ids=["malformed", "waits for 100"],
)
async def test_response_does_not_wait_for_a_request_that_never_ends(
    sent: bytes, status: bytes
) -> None:
    async with connect(responds_after_request=True) as (reader, writer):
        writer.write(sent)
        assert (await reader.read()).startswith(b"HTTP/1.1 " + status)


async def test_early_response_ends_before_rest_of_body() -> None:
    """A client can see the end of the response while it sends."""
    async with connect() as (reader, writer):
        writer.write(POST.replace(b"host", _CLOSE + b"host") % len(_BODY) + b"x")
        assert (await reader.read()).endswith(b"ok")
        writer.write(_BODY[1:])
        await writer.drain()


@pytest.mark.parametrize("head", [b"", _CLOSE])
async def test_discarded_bytes_are_limited(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr(http_connection, "MAX_DISCARDED_BYTES", 1_000_000)
    async with run(Server()) as server:
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(_send_all, server.port, _build_length_body(head) * 20)


@pytest.mark.parametrize("head", [b"", _CLOSE])
async def test_discarding_time_is_limited(head: bytes) -> None:
    async with connect(head_seconds=LIMIT_SECONDS) as (reader, writer):
        writer.write(POST.replace(b"host", head + b"host") % 1_000_000)
        await reader.readuntil(b"ok")
        with pytest.raises(ConnectionError):
            await _send_slowly(writer)


async def test_early_response_to_client_that_waits_for_100_closes_connection() -> None:
    """The client may omit the body, so the next request cannot be found on this connection."""
    async with connect() as (reader, writer):
        writer.write(POST.replace(b"host", b"Expect: 100-Continue\r\nhost") % 100)
        response = await reader.read()
        assert response.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in response


async def test_client_that_waits_for_100_is_told_to_continue() -> None:
    server = Server()
    async with connect(server) as (reader, writer):
        head = POST.replace(b"/", b"/body", 1).replace(b"host", b"expect: 100-continue\r\nhost")
        writer.write(head % 4)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert b"connection: close" not in await reader.readuntil(b"ok")
    assert server.bodies == [b"body"]


@pytest.mark.parametrize("sent", [POST % 4 + b"b", b"POST", b"POST / HTTP/1.1\r\nhost: x\r\n"])
@pytest.mark.parametrize("is_slow", [True, False])
async def test_half_closed_incomplete_request_gets_error(sent: bytes, is_slow: bool) -> None:
    async with connect() as (reader, writer):
        writer.write(sent.replace(b" / ", b" /body ", 1))
        if is_slow:
            await asyncio.sleep(LIMIT_SECONDS)
        writer.write_eof()
        response = await reader.read()
        assert response.startswith(b"HTTP/1.1 408 " if b"length" in sent else b"HTTP/1.1 400 ")
        assert b'{"error":"' in response


async def test_half_closed_chunked_body_gets_408() -> None:
    async with connect() as (reader, writer):
        head = b"POST /body HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + b"5\r\nab")
        writer.write_eof()
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_half_closed_complete_requests_get_their_responses() -> None:
    async with connect() as (reader, writer):
        writer.write(GET.replace(b"/", b"/slow", 1) + GET)
        writer.write_eof()
        assert (await reader.read()).count(b"HTTP/1.1 200 ") == 2


async def test_half_closed_idle_connection_is_closed() -> None:
    async with connect() as (reader, writer):
        writer.write(GET)
        await reader.readuntil(b"ok")
        writer.write_eof()
        assert await reader.read() == b""


async def test_response_that_client_does_not_read_is_aborted() -> None:
    """It occupies memory."""
    async with connect(write_seconds=LIMIT_SECONDS) as (reader, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET.replace(b"/", b"/long", 1))
        await asyncio.sleep(4 * LIMIT_SECONDS)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(LONG_RESPONSE)


async def test_client_may_read_response_slowly() -> None:
    """Each piece arrives within the time limit, the whole response does not."""
    async with connect(write_seconds=LIMIT_SECONDS) as (reader, writer):
        writer.write(GET.replace(b"/", b"/long", 1))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        for _ in range(20):
            await reader.readexactly(LONG_RESPONSE // 20)
            await asyncio.sleep(LIMIT_SECONDS / 4)
        assert await reader.readexactly(2) == b"ok"


async def test_error_in_application_is_json() -> None:
    class Broken(Server):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            raise ValueError

    async with connect(Broken()) as (reader, writer):
        writer.write(GET)
        response = await reader.readuntil(b"}")
        assert response.startswith(b"HTTP/1.1 500 ")
        assert b'{"error":"Internal error' in response
