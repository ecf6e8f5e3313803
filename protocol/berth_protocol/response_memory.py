"""Responses that clients take slowly: the time and the memory that they may take."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from berth_protocol.body_memory import PART_BYTES


class SlowResponse(Protocol):
    """A response whose client takes it more slowly than it is sent."""

    def drop(self) -> None:
        """Close the connection, without the rest of the response."""
        ...


class ResponseMemory:
    """Counts the bytes that wait for clients, and drops the slowest response if they are too many.

    A client that takes no part of its response occupies 0.8 MiB of a gateway: what the gateway has
    read from the berth, and the next part. 260 such clients would take all of the memory that a
    gateway has by default, 256 MiB. The response that has waited longest since its client took
    something is dropped, because a new request must not fail for the sake of such a client.

    Args:
        max_bytes: Maximum number of bytes. One response may always wait, whatever it takes.
        on_drop: Called for each response that is dropped, also by `ResponseWatch`.
    """

    def __init__(self, max_bytes: int, on_drop: Callable[[], None]) -> None:
        self.max_bytes = max_bytes
        self.on_drop = on_drop
        self._used_bytes = 0
        # In the order in which their clients stopped taking them.
        self._waiting: dict[SlowResponse, int] = {}

    def hold(self, response: SlowResponse, size: int) -> None:
        """Count a response of which `size` bytes wait for the client, until `release`."""
        self.release(response)
        # Meanwhile, the next part arrives.
        self._waiting[response] = size + PART_BYTES
        self._used_bytes += size + PART_BYTES
        while self._used_bytes > self.max_bytes and len(self._waiting) > 1:
            slowest = next(iter(self._waiting))
            self.release(slowest)
            slowest.drop()

    def release(self, response: SlowResponse) -> None:
        """Stop counting a response that the client takes again, or whose connection is closed."""
        self._used_bytes -= self._waiting.pop(response, 0)


class ResponseWatch:
    """Watches one connection while its client takes less than the server sends.

    Args:
        transport: The transport of the connection.
        seconds: How long the client may take nothing.
        memory: Counts the bytes that wait. None if nothing limits them.
    """

    def __init__(
        self, transport: asyncio.Transport, seconds: float, memory: ResponseMemory | None
    ) -> None:
        self._transport = transport
        self._seconds = seconds
        self._memory = memory
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start when the transport accepts no more data."""
        size = self._transport.get_write_buffer_size()
        self._start_timer(size)
        if self._memory is not None:
            self._memory.hold(self, size)

    def stop(self) -> None:
        """Stop when the client has taken nearly all, or the connection is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._memory is not None:
            self._memory.release(self)

    def drop(self) -> None:
        """Close the connection, without the rest of the response."""
        self.stop()
        self._transport.abort()
        if self._memory is not None:
            self._memory.on_drop()

    def _start_timer(self, size: int) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds, self._check_progress, size)

    def _check_progress(self, previous_size: int) -> None:
        size = self._transport.get_write_buffer_size()
        if size < previous_size:
            self._start_timer(size)
        else:
            self.drop()
