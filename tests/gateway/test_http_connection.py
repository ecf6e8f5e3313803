"""Connections to the gateway: an incomplete request is rejected, and its connection is closed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from berth_protocol.http_server import HttpConnection, HttpServer, server_config

HEAD_SECONDS = 0.2


async def _respond_ok(scope: Any, _receive: Any, send: Any) -> None:
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * HEAD_SECONDS)
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def _connect() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a server that responds `ok` to every request."""
    config = server_config(_respond_ok)
    config.port = 0
    config.http = partial(HttpConnection, head_seconds=HEAD_SECONDS)  # type: ignore[assignment]
    config.load()
    server = HttpServer(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await server.shutdown()


async def test_silent_connection_is_closed() -> None:
    async with _connect() as (reader, _), asyncio.timeout(20):
        assert await reader.read() == b""


@pytest.mark.parametrize("part", [b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\nslow: "])
async def test_incomplete_head_gets_408(part: bytes) -> None:
    async with _connect() as (reader, writer), asyncio.timeout(20):
        writer.write(part)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_incomplete_second_head_gets_408() -> None:
    async with _connect() as (reader, writer), asyncio.timeout(20):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"GET / HT")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_rejected_body_without_end_closes_connection() -> None:
    async with _connect() as (reader, writer), asyncio.timeout(20):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"x")
        assert await reader.read() == b""


async def test_response_can_take_longer_than_head_timeout() -> None:
    async with _connect() as (reader, writer), asyncio.timeout(20):
        for _ in range(2):
            writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
