"""Slow clients: those that have waited longest make room for the others."""

import asyncio
import contextlib

import pytest

from berth_protocol.slow_clients import SlowClients
from tests.protocol.connection import GET, LONG_RESPONSE, Server, run

_LONG = GET.replace(b"/", b"/long", 1)


class _Response:
    """A response that records whether it was dropped."""

    def __init__(self) -> None:
        self.is_dropped = False

    def drop(self) -> None:
        self.is_dropped = True


class _Drops:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> None:
        self.count += 1


def _create(responses: int) -> SlowClients:
    """Return the memory of a number of responses of which 1,000 bytes wait."""
    return SlowClients(responses * 1000, _Drops().add)


def test_response_that_waits_longest_is_dropped() -> None:
    memory = _create(2)
    responses = [_Response() for _ in range(4)]
    for response in responses:
        memory.hold(response, 1000)
    assert [each.is_dropped for each in responses] == [True, True, False, False]


def test_response_that_the_client_takes_again_waits_from_then_on() -> None:
    memory = _create(2)
    first, second, third = (_Response() for _ in range(3))
    memory.hold(first, 1000)
    memory.hold(second, 1000)
    memory.release(first)
    memory.hold(first, 1000)
    memory.hold(third, 1000)
    assert (first.is_dropped, second.is_dropped, third.is_dropped) == (False, True, False)


def test_response_that_is_complete_makes_room() -> None:
    memory = _create(1)
    for _ in range(3):
        response = _Response()
        memory.hold(response, 1000)
        memory.release(response)
        memory.release(response)
        assert not response.is_dropped
    last = _Response()
    memory.hold(last, 1000)
    assert not last.is_dropped


def test_one_response_may_wait_whatever_it_takes() -> None:
    memory = _create(1)
    response = _Response()
    memory.hold(response, 1 << 30)
    assert not response.is_dropped


def test_client_that_sends_more_has_waited_since_it_began() -> None:
    memory = _create(2)
    first, second, third = (_Response() for _ in range(3))
    memory.hold(first, 100)
    memory.hold(second, 1000)
    memory.hold(first, 1000)
    assert not first.is_dropped
    memory.hold(third, 1000)
    assert (first.is_dropped, second.is_dropped, third.is_dropped) == (True, False, False)


_HEAD = GET[:-2] + b"x: "


async def test_unfinished_heads_occupy_bounded_memory() -> None:
    drops = _Drops()
    async with run(Server(), slow_clients=SlowClients(300_000, drops.add)) as server:
        streams = []
        for _ in range(20):
            reader, writer = await server.open()
            streams.append((reader, writer))
            writer.write(_HEAD + b"a" * 50_000)
            await writer.drain()
        # The head of another client, also in two pieces, finds room.
        reader, writer = await server.open()
        writer.write(GET[:5])
        await asyncio.sleep(0.01)
        writer.write(GET[5:])
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        streams.append((reader, writer))
        results = []
        for reader, writer in streams[:20]:
            with contextlib.suppress(ConnectionError):
                writer.write(b"\r\n\r\n")
                results.append(await reader.read(12))
        assert results.count(b"HTTP/1.1 200") in (4, 5)
        assert drops.count == 0
        for _, writer in streams:
            writer.close()


async def test_client_that_takes_its_response_is_not_dropped_for_one_that_does_not() -> None:
    drops = _Drops()
    async with run(Server(), slow_clients=SlowClients(1, drops.add)) as server:
        streams = [await server.open() for _ in range(3)]
        for reader, writer in streams:
            writer.write(_LONG)
            await reader.readuntil(b"\r\n\r\n")
        assert drops.count == 2
        *dropped, (last, _) = streams
        for reader, _ in dropped:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(LONG_RESPONSE)
        assert (await last.readexactly(LONG_RESPONSE + 2)).endswith(b"ok")
        # Nothing counts any more.
        streams.append(await server.open())
        reader, writer = streams[-1]
        writer.write(_LONG)
        await reader.readexactly(LONG_RESPONSE)
        assert drops.count == 2
        for _, each in streams:
            each.close()
