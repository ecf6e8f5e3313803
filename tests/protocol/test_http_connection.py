"""Connections of the shared HTTP server: heads, bodies and idle times are bounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn

from berth_protocol.http_server import MAX_HEAD_BYTES, HttpConnection, HttpServer, server_config

_LIMIT_SECONDS = 0.2
_POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Respond `ok` at once; `/slow` responds after the time limit, `/body` after the body."""
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * _LIMIT_SECONDS)
    if scope["path"] == "/body":
        while (await receive()).get("more_body"):
            pass
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def _connect(
    **limits: float,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = server_config(_app)
    config.port = 0
    config.http = partial(HttpConnection, **limits)  # type: ignore[assignment]
    server = HttpServer(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            yield reader, writer
    finally:
        writer.close()
        await server.shutdown()


async def test_silent_connection_is_closed() -> None:
    async with _connect(head_seconds=_LIMIT_SECONDS) as (reader, _):
        assert await reader.read() == b""


@pytest.mark.parametrize("sent", [b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\nslow: "])
async def test_unfinished_head_gets_408(sent: bytes) -> None:
    async with _connect(head_seconds=_LIMIT_SECONDS) as (reader, writer):
        writer.write(sent)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_unfinished_head_after_response_gets_408() -> None:
    async with _connect(head_seconds=_LIMIT_SECONDS) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"GET / HT")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_unfinished_body_after_response_is_closed() -> None:
    async with _connect(head_seconds=_LIMIT_SECONDS) as (reader, writer):
        writer.write(_POST % 1_000_000)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"x")
        assert await reader.read() == b""


async def test_empty_lines_do_not_keep_connection_open() -> None:
    async with _connect(head_seconds=_LIMIT_SECONDS) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"ok")
        writer.write(b"\r\n")
        assert await reader.read() == b""


async def test_response_may_take_longer_than_head() -> None:
    async with _connect(head_seconds=_LIMIT_SECONDS) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


async def test_response_may_take_longer_than_request() -> None:
    async with _connect(request_seconds=_LIMIT_SECONDS) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


async def test_unfinished_body_beyond_request_limit_gets_408() -> None:
    async with _connect(request_seconds=_LIMIT_SECONDS) as (reader, writer):
        writer.write((_POST % 100).replace(b"/", b"/body", 1) + b"x")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_connection_stays_open_after_rejected_body_arrives() -> None:
    async with _connect(request_seconds=_LIMIT_SECONDS) as (reader, writer):
        writer.write(_POST % 4)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"body")
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["unfinished", "whole"])
@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nx: ", b"GET /"], ids=["header", "path"])
async def test_head_beyond_limit_gets_431(start: bytes, end: bytes) -> None:
    async with _connect() as (reader, writer):
        writer.write(start + b"a" * (MAX_HEAD_BYTES + 5000) + end)
        response = await reader.read()
        assert response.startswith(b"HTTP/1.1 431 ")
        assert b"content-type: application/json" in response


async def test_large_body_does_not_count_as_head() -> None:
    async with _connect() as (reader, writer):
        body = b"x" * (3 * MAX_HEAD_BYTES)
        writer.write(_POST % len(body) + body + b"GET / HT")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"TP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"NONSENSE\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET http://a:99999999/ HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
async def test_invalid_request_gets_400_in_json(sent: bytes) -> None:
    async with _connect() as (reader, writer):
        writer.write(sent)
        response = await reader.read()
        assert response.startswith(b"HTTP/1.1 400 ")
        assert b'{"error":' in response


async def test_invalid_request_does_not_get_error_before_pending_response() -> None:
    async with _connect() as (reader, writer):
        writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\nNONSENSE\r\n\r\n")
        assert b"400" not in await reader.read()


async def test_upgrade_header_keeps_request_body() -> None:
    async with _connect() as (reader, writer):
        head = b"POST /body HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
        writer.write(head + b"content-length: 4\r\n\r\nGET ")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


def test_server_config_is_accepted_by_uvicorn() -> None:
    config = server_config(_app, request_seconds=1)
    config.load()
    assert config.ws == "none"
    assert isinstance(HttpServer(config), uvicorn.Server)
