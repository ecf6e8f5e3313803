"""Trailers and the framing of chunks: dropped, counted and bounded."""

import asyncio

import pytest

from berth_protocol.http_head import MAX_HEAD_BYTES
from tests.protocol.connection import CHUNKED, GET, Server, connect, run


async def test_trailers_are_dropped_and_counted() -> None:
    server = Server()
    async with connect(server) as (reader, writer):
        writer.write(CHUNKED + b"2\r\nab\r\n0\r\nx-api-key: key\r\nhost: other\r\n\r\n" + GET)
        for _ in range(2):
            await reader.readuntil(b"ok")
    assert server.bodies == [b"ab"]
    assert server.trailers == 2
    host = (b"host", b"x")
    assert server.headers == [[host, (b"transfer-encoding", b"chunked")], [host]]


@pytest.mark.parametrize(
    "start",
    [
        b"2\r\nab\r\n0\r\nx: ",
        b"2\r\nab\r\n0\r\n",
        b"2\r\nab\r\n2;",
        b"2\r\nab\r\n0;",
        b"2\r\nab\r\n0",
    ],
    ids=["value", "name", "extension", "last-extension", "size"],
)
async def test_endless_framing_gets_431_while_other_clients_are_served(start: bytes) -> None:
    server = Server()
    async with run(server) as running:
        reader, writer = await running.open()
        writer.write(CHUNKED + start)
        piece = b"0" * 20_000
        for _ in range(20):
            writer.write(piece)
            await writer.drain()
        response = await reader.read()
        assert response.startswith(b"HTTP/1.1 431 ")
        assert b'{"error":"The trailers and chunk extensions' in response
        other_reader, other_writer = await running.open()
        other_writer.write(GET)
        assert (await other_reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        other_writer.close()
    assert server.bodies == []


@pytest.mark.parametrize("is_at_once", [True, False])
async def test_many_trailers_get_431(is_at_once: bool) -> None:
    async with connect() as (reader, writer):
        trailers = b"a: b\r\n" * (MAX_HEAD_BYTES // 6 + 1)
        body = b"0\r\n" + trailers + b"\r\n"
        if is_at_once:
            writer.write(CHUNKED + body)
        else:
            writer.write(CHUNKED)
            for start in range(0, len(body), 1000):
                writer.write(body[start : start + 1000])
                await writer.drain()
        assert (await reader.read()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("extension", [b"", b";a=b"])
async def test_chunks_of_one_byte_are_accepted(extension: bytes) -> None:
    """Their framing is longer than the limit, but in proportion to the body."""
    server = Server()
    async with connect(server) as (reader, writer):
        writer.write(CHUNKED)
        for _ in range(20):
            writer.write((b"1" + extension + b"\r\nx\r\n") * 1000)
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
    assert server.bodies == [b"x" * 20_000]


async def test_endless_trailer_after_response_is_discarded() -> None:
    """The client that sends it can still read the response."""
    async with connect() as (reader, writer):
        writer.write(CHUNKED.replace(b"/body", b"/", 1) + b"0\r\nx: ")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        for _ in range(20):
            writer.write(b"a" * 20_000)
            await writer.drain()
            await asyncio.sleep(0)
        assert await reader.read() == b""
