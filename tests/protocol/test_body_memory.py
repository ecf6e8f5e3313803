"""The memory of all request bodies together is bounded, and is returned afterwards."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from berth_protocol import body_memory
from berth_protocol.body_memory import SMALL_BODY_BYTES, BodyMemory, default_body_memory
from berth_protocol.errors import RequestError
from tests.protocol.connection import LIMIT_SECONDS, POST, Server, run

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


async def test_body_without_memory_waits_until_another_is_complete() -> None:
    server = Server(BodyMemory(2 * _LARGE, _LARGE))
    async with run(server) as running:
        first_reader, first = await running.open()
        first.write(_HEAD % _LARGE + b"x" * (_LARGE - 1))
        await _wait_until(lambda: server.body_memory.used_bytes >= _LARGE - 1)
        second_reader, second = await running.open()
        second.write(_HEAD % _LARGE)
        second.write(b"x" * _LARGE)
        short_reader, short = await running.open()
        short.write(_HEAD % 1 + b"x")
        assert (await short_reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        assert [len(body) for body in server.bodies] == [1]
        first.write(b"x")
        for reader in (first_reader, second_reader):
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        for writer in (first, second, short):
            writer.close()
    assert server.body_memory.used_bytes == 0
    assert [len(body) for body in server.bodies] == [1, _LARGE, _LARGE]


@pytest.mark.parametrize("is_aborted", [True, False])
async def test_memory_of_disconnected_client_is_released(is_aborted: bool) -> None:
    server = Server(BodyMemory(2 * _LARGE))
    async with run(server) as running:
        _, writer = await running.open()
        writer.write((_HEAD % _LARGE + b"x" * _LARGE)[:-1])
        await _wait_until(lambda: server.body_memory.used_bytes >= _LARGE - 1)
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


@pytest.mark.parametrize("is_trickling", [False, True])
async def test_long_body_that_stalls_is_dropped_if_another_waits(is_trickling: bool) -> None:
    """It would delay the others until its time limit."""
    server = Server(BodyMemory(2 * _LARGE, _LARGE, stall_seconds=LIMIT_SECONDS))
    async with run(server) as running:
        stalled_reader, stalled = await running.open()
        stalled.write(_HEAD % _LARGE + b"x" * (_LARGE - 1000))
        await _wait_until(lambda: server.body_memory.used_bytes >= _LARGE - 1000)
        # While no other body waits, it may take its time.
        await asyncio.sleep(3 * LIMIT_SECONDS)
        assert server.body_memory.used_bytes >= _LARGE - 1000

        async def trickle() -> None:
            for _ in range(900):
                stalled.write(b"x")
                await asyncio.sleep(LIMIT_SECONDS / 20)

        trickling = asyncio.create_task(trickle()) if is_trickling else None
        second_reader, second = await running.open()
        second.write(_HEAD % _LARGE + b"x" * _LARGE)
        assert (await second_reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        response = await stalled_reader.readuntil(b"}")
        if trickling is not None:
            trickling.cancel()
        for writer in (stalled, second):
            writer.close()
    assert response.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":"The request body arrived too slowly' in response
    assert server.body_memory.used_bytes == 0


@dataclass(eq=False)
class _Body:
    """A long body that arrives in parts, until it has `size` bytes."""

    size: int
    held_bytes: int = 0
    received_bytes: int = 0

    def is_arriving(self) -> bool:
        return False

    def drop_stalled(self) -> None:
        raise AssertionError

    async def arrive(self, memory: BodyMemory, part: int) -> None:
        while self.held_bytes < self.size:
            await memory.wait_for_room(self, min(part, self.size - self.held_bytes))
            assert memory.used_bytes <= memory.max_bytes
            await asyncio.sleep(0)
        memory.remove(self)


async def test_long_bodies_wait_for_each_other_and_all_complete() -> None:
    memory = BodyMemory(1000, max_body_bytes=300)
    bodies = [_Body(300) for _ in range(40)]
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for number, body in enumerate(bodies):
            group.create_task(body.arrive(memory, 1 + number % 7))
    assert memory.used_bytes == 0


async def test_unfinished_body_does_not_keep_others_from_completing() -> None:
    memory = BodyMemory(1000, max_body_bytes=300)
    stalled = _Body(300)
    await memory.wait_for_room(stalled, 50)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(_Body(300).arrive(memory, 10))
    assert memory.used_bytes == 50


async def test_body_that_no_longer_waits_gets_no_room() -> None:
    memory = BodyMemory(400, max_body_bytes=200)
    first, second, third = (_Body(200) for _ in range(3))
    await memory.wait_for_room(first, 100)
    await memory.wait_for_room(second, 200)
    waiting = asyncio.create_task(memory.wait_for_room(third, 100))
    await asyncio.sleep(0)
    assert memory.is_waiting(third)
    memory.stop_waiting(third)
    await waiting
    memory.remove(first)
    assert (third.held_bytes, memory.used_bytes) == (0, 200)
