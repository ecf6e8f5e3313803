"""Connections of the shared HTTP server: heads, bodies and idle times are bounded."""

import asyncio

import pytest
import uvicorn

from berth_protocol.http_head import MAX_HEAD_BYTES, MAX_HEADERS
from berth_protocol.http_server import HttpServer
from tests.protocol.connection import CHUNKED, GET, LIMIT_SECONDS, POST, Server, connect, run


async def test_silent_connection_is_closed() -> None:
    async with connect(head_seconds=LIMIT_SECONDS) as (reader, _):
        assert await reader.read() == b""


@pytest.mark.parametrize("sent", [b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\nslow: "])
async def test_unfinished_head_gets_408(sent: bytes) -> None:
    async with connect(head_seconds=LIMIT_SECONDS) as (reader, writer):
        writer.write(sent)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_unfinished_head_after_response_gets_408() -> None:
    async with connect(head_seconds=LIMIT_SECONDS) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"GET / HT")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_unfinished_body_after_response_is_closed() -> None:
    async with connect(head_seconds=LIMIT_SECONDS) as (reader, writer):
        writer.write(POST % 1_000_000)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"x")
        assert await reader.read() == b""


async def test_empty_lines_do_not_keep_connection_open() -> None:
    async with connect(head_seconds=LIMIT_SECONDS) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"ok")
        writer.write(b"\r\n")
        assert await reader.read() == b""


async def test_response_may_take_longer_than_head() -> None:
    async with connect(head_seconds=LIMIT_SECONDS) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


async def test_response_may_take_longer_than_request() -> None:
    async with connect(request_seconds=LIMIT_SECONDS) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


async def test_unfinished_body_beyond_request_limit_gets_408() -> None:
    async with connect(request_seconds=LIMIT_SECONDS) as (reader, writer):
        writer.write((POST % 100).replace(b"/", b"/body", 1) + b"x")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_connection_stays_open_after_rejected_body_arrives() -> None:
    async with connect(request_seconds=LIMIT_SECONDS) as (reader, writer):
        writer.write(POST % 4)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"body")
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["unfinished", "whole"])
@pytest.mark.parametrize("size", [1, 1000, 1 << 20], ids=["bytes", "pieces", "once"])
@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nx: " + b"a" * MAX_HEAD_BYTES,
        b"GET /" + b"a" * MAX_HEAD_BYTES,
        b"GET / HTTP/1.1" + b"\r\na:" * (MAX_HEAD_BYTES // 4),
        b"GET / HTTP/1.1\r\nhost: x" + b"\r\na:" * (MAX_HEADERS + 1),
        b"GET / HTTP/1.1\r\nx: " + b"a" * 5 * MAX_HEAD_BYTES,
    ],
    ids=["header", "path", "many-headers", "one-header-too-many", "long"],
)
async def test_head_beyond_limit_gets_431(head: bytes, size: int, end: bytes) -> None:
    async with connect() as (reader, writer):
        sent = head + end
        if size == 1:
            # The first byte arrives on its own, the rest in another piece.
            sent = sent[1:]
            writer.write(head[:1])
            await asyncio.sleep(0)
            size = len(sent)
        for start in range(0, len(sent), size):
            writer.write(sent[start : start + size])
            await writer.drain()
        response = await reader.read()
        assert response.startswith(b"HTTP/1.1 431 ")
        assert b"content-type: application/json" in response


@pytest.mark.parametrize("parts", [1, 30, MAX_HEADERS - 1])
async def test_head_below_limit_is_accepted(parts: int) -> None:
    async with connect() as (reader, writer):
        header = b"x: " + b"a" * (60_000 // parts) + b"\r\n"
        for part in (b"GET / HTTP/1.1\r\nhost: x\r\n", *[header] * parts, b"\r\n"):
            writer.write(part)
            await writer.drain()
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


async def test_large_body_does_not_count_as_head() -> None:
    async with connect() as (reader, writer):
        body = b"x" * (3 * MAX_HEAD_BYTES)
        writer.write(POST % len(body) + body + b"GET / HT")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"TP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"NONSENSE\r\n\r\n", b"Invalid HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00", b"Invalid HTTP"),
        (b"CONNECT a:80 HTTP/1.1\r\nhost: x\r\n\r\n", b"Invalid HTTP"),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"Invalid HTTP"),
        (b"GET / HTTP/1.1\r\nhost: x\r\na : b\r\n\r\n", b"Invalid HTTP"),
        (b"GET / HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n", b"Invalid HTTP"),
        (b"GET http://a:99999999/ HTTP/1.1\r\nhost: x\r\n\r\n", b"Invalid HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"Invalid HTTP"),
        (b"GET / HTTP/1.2\r\nhost: x\r\n\r\n", b"Invalid HTTP"),
        (b"GET / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", b"Send chunked"),
        (CHUNKED + b"zz\r\n", b"Invalid HTTP"),
        (b"GET / HTTP/2.0\r\nhost: x\r\n\r\n", b"HTTP/2.0 is not supported"),
        (b"GET /\r\n", b"HTTP/0.9 is not supported"),
        (b"GET /\r\n\r\n", b"HTTP/0.9 is not supported"),
        (b"GET / HTTP/1.1\r\n\r\n", b"Host header occurs 0 times"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nHost: x\r\n\r\n", b"Host header occurs 2 times"),
        (b"GET / HTTP/1.0\r\nhost: x\r\nhost: y\r\n\r\n", b"Host header occurs 2 times"),
        (b"GET / HTTP/1.1\r\nhost: x, y\r\n\r\n", b"Host header is invalid"),
        (b"GET / HTTP/1.1\r\nhost: x/y\r\n\r\n", b"Host header is invalid"),
        (b"GET /#a HTTP/1.1\r\nhost: x\r\n\r\n", b"has a fragment"),
        (
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            b"Send chunked",
        ),
        (
            b"POST / HTTP/1.1\r\nhost: x\r\n"
            b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
            b"Send chunked",
        ),
        (
            b"POST / HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.0 has no Transfer-Encoding",
        ),
    ],
)
async def test_invalid_request_gets_400_in_json(sent: bytes, message: bytes) -> None:
    async with connect() as (reader, writer):
        writer.write(sent)
        response = await reader.read()
        assert response.startswith(b"HTTP/1.1 400 ")
        assert b'{"error":"' in response
        assert message in response


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: my_host.example:8080 \t\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n",
        b"GET http://a HTTP/1.1\r\nhost: b\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
async def test_valid_forms_are_accepted(sent: bytes) -> None:
    async with connect() as (reader, writer):
        writer.write(sent)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


async def test_spaces_around_header_value_are_dropped() -> None:
    server = Server()
    async with connect(server) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nA: \t b c \t \r\nempty:  \r\nlast:d\r\n\r\n")
        await reader.readuntil(b"ok")
    assert server.headers == [[(b"host", b"x"), (b"a", b"b c"), (b"empty", b""), (b"last", b"d")]]


async def test_responses_to_earlier_requests_precede_end_of_invalid_connection() -> None:
    async with connect() as (reader, writer):
        writer.write(GET.replace(b"/", b"/slow", 1) + GET + b"NONSENSE\r\n\r\n")
        response = await reader.read()
        assert response.count(b"HTTP/1.1 200 ") == 2
        assert b"400" not in response


async def test_number_of_pipelined_requests_is_limited() -> None:
    """Each occupies memory until its turn."""
    async with connect() as (reader, writer):
        writer.write(GET.replace(b"/", b"/slow", 1) + GET * 1000)
        response = await reader.read()
        assert response.count(b"HTTP/1.1 200 ") == 65
        assert response.count(b"connection: close") == 1


async def test_upgrade_header_keeps_request_body() -> None:
    async with connect() as (reader, writer):
        head = b"POST /body HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
        writer.write(head + b"content-length: 4\r\n\r\nGET ")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


def test_server_config_is_accepted_by_uvicorn() -> None:
    config = Server().config()
    config.load()
    assert config.ws == "none"
    assert isinstance(HttpServer(config), uvicorn.Server)


async def test_connection_ends_after_its_last_request() -> None:
    async with run(Server(), max_requests=2) as server:
        reader, writer = await server.open()
        writer.write(GET)
        first = await reader.readuntil(b"ok")
        writer.write(POST % 2 + b"{}" + GET)
        rest = await reader.read()
        writer.close()
    assert b"connection: close" not in first
    assert rest.count(b"HTTP/1.1 200 ") == rest.count(b"connection: close") == 1
