"""The memory of all request bodies together is bounded, and is returned afterwards."""

import asyncio
import os
from collections.abc import Callable

import pytest

from berth_protocol import body_memory
from berth_protocol.body_memory import SMALL_BODY_BYTES, BodyMemory, default_body_memory
from berth_protocol.errors import RequestError
from tests.protocol.connection import POST, Server, run

_HEAD = POST.replace(b"/", b"/body", 1)
_LARGE = 300_000


async def _wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def test_memory_is_used_until_it_is_released() -> None:
    memory = BodyMemory(1000)
    memory.reserve(600, 0)
    memory.reserve(400, 600)
    with pytest.raises(RequestError) as caught:
        memory.reserve(1, 0)
    assert caught.value.status == 503
    assert caught.value.headers == {"retry-after": "1"}
    assert "1000 bytes" in caught.value.message
    memory.release(600)
    memory.reserve(1, 0)
    assert memory.used_bytes == 401


async def test_body_that_is_alone_is_always_accepted() -> None:
    memory = BodyMemory(1000)
    memory.reserve(100_000, 0)
    memory.reserve(100_000, 100_000)
    with pytest.raises(RequestError):
        memory.reserve(1, 0)


async def test_long_bodies_leave_memory_for_short_ones() -> None:
    size = 4 * SMALL_BODY_BYTES
    memory = BodyMemory(4 * size)
    for _ in range(3):
        memory.reserve(size, 0)
    with pytest.raises(RequestError):
        memory.reserve(size, 0)
    for _ in range(4):
        memory.reserve(SMALL_BODY_BYTES, 0)
    with pytest.raises(RequestError):
        memory.reserve(1, 0)


@pytest.mark.parametrize(("limit", "expected"), [(256 << 20, 64 << 20), (None, 256 << 20)])
def test_default_is_quarter_of_container_memory(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, expected: int
) -> None:
    sizes = {"SC_PHYS_PAGES": 1 << 18, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    monkeypatch.setattr(body_memory, "read_memory_limit", lambda: limit)
    assert default_body_memory() == expected


async def test_body_without_memory_gets_503_and_others_finish() -> None:
    server = Server(BodyMemory(2 * _LARGE))
    async with run(server) as running:
        first_reader, first = await running.open()
        first.write(_HEAD % _LARGE + b"x" * (_LARGE - 1))
        await first.drain()
        await _wait_until(lambda: server.body_memory.used_bytes == _LARGE - 1)
        second_reader, second = await running.open()
        second.write(_HEAD % _LARGE + b"x" * _LARGE)
        response = await second_reader.readuntil(b"}")
        assert response.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in response
        first.write(b"x")
        assert (await first_reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        # The rest of the rejected body was discarded, and its connection continues.
        second.write(_HEAD % _LARGE + b"x" * _LARGE)
        assert (await second_reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        first.close()
        second.close()
    assert server.body_memory.used_bytes == 0
    assert [len(body) for body in server.bodies] == [_LARGE, _LARGE]


@pytest.mark.parametrize("is_aborted", [True, False])
async def test_memory_of_disconnected_client_is_released(is_aborted: bool) -> None:
    server = Server(BodyMemory(2 * _LARGE))
    async with run(server) as running:
        _, writer = await running.open()
        writer.write((_HEAD % _LARGE + b"x" * _LARGE)[:-1])
        await _wait_until(lambda: server.body_memory.used_bytes == _LARGE - 1)
        if is_aborted:
            writer.transport.abort()
        else:
            writer.close()
        await _wait_until(lambda: server.body_memory.used_bytes == 0)


async def test_memory_of_queued_request_is_released() -> None:
    server = Server(BodyMemory(2 * _LARGE))
    async with run(server) as running:
        _, writer = await running.open()
        slow = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"
        writer.write(slow + _HEAD % _LARGE + b"x" * 1000)
        await _wait_until(lambda: server.body_memory.used_bytes > 0)
        writer.transport.abort()
        await _wait_until(lambda: server.body_memory.used_bytes == 0)
