"""Slow clients: the time and the memory that unfinished heads and untaken responses may take."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from berth_protocol.body_memory import PART_BYTES

# Measured for an idle connection, and for a header with a name and a value of a byte each.
_CONNECTION_BYTES = 7 << 10
_HEADER_BYTES = 55


class SlowClient(Protocol):
    """A client that sends a head, or takes a response, in more than one piece."""

    def drop(self) -> None:
        """Close the connection."""
        ...


class SlowClients:
    """Counts the bytes that wait for slow clients, and drops the slowest if they are too many.

    A client that takes no part of its response occupies 0.8 MiB of a gateway: what the gateway has
    read from the berth, and the next part. 260 such clients would take all of the memory that a
    gateway has by default, 256 MiB. An unfinished head occupies up to 100 KiB, and needs no key.
    The client that has kept the gateway waiting longest is dropped, because a new request must not
    fail for its sake.

    Args:
        max_bytes: Maximum number of bytes. One client may always wait, whatever it takes.
        on_dropped_response: Called for each response that is dropped, also by `ResponseWatch`.
    """

    def __init__(self, max_bytes: int, on_dropped_response: Callable[[], None]) -> None:
        self.max_bytes = max_bytes
        self.on_dropped_response = on_dropped_response
        self._used_bytes = 0
        # In the order in which they began to wait.
        self._waiting: dict[SlowClient, int] = {}

    def hold(self, client: SlowClient, size: int) -> None:
        """Count `size` bytes for a client, instead of what was counted for it, until `release`."""
        self._used_bytes += size - self._waiting.get(client, 0)
        self._waiting[client] = size
        while self._used_bytes > self.max_bytes and len(self._waiting) > 1:
            slowest = next(iter(self._waiting))
            self.release(slowest)
            slowest.drop()

    def hold_head(self, client: SlowClient, size: int, headers: int) -> None:
        """Count an unfinished head of which `size` bytes with a number of headers have arrived."""
        self.hold(client, size + _HEADER_BYTES * headers + _CONNECTION_BYTES)

    def release(self, client: SlowClient) -> None:
        """Stop counting a client that no longer waits, or whose connection is closed."""
        self._used_bytes -= self._waiting.pop(client, 0)


class ResponseWatch:
    """Watches one connection while its client takes less than the server sends.

    Args:
        transport: The transport of the connection.
        seconds: How long the client may take nothing.
        slow_clients: Counts the bytes that wait. None if nothing limits them.
    """

    def __init__(
        self, transport: asyncio.Transport, seconds: float, slow_clients: SlowClients | None
    ) -> None:
        self._transport = transport
        self._seconds = seconds
        self._slow_clients = slow_clients
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start when the transport accepts no more data."""
        size = self._transport.get_write_buffer_size()
        self._start_timer(size)
        if self._slow_clients is not None:
            # Meanwhile, the next part arrives.
            self._slow_clients.hold(self, size + PART_BYTES)

    def stop(self) -> None:
        """Stop when the client has taken nearly all, or the connection is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._slow_clients is not None:
            self._slow_clients.release(self)

    def drop(self) -> None:
        """Close the connection, without the rest of the response."""
        self.stop()
        self._transport.abort()
        if self._slow_clients is not None:
            self._slow_clients.on_dropped_response()

    def _start_timer(self, size: int) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds, self._check_progress, size)

    def _check_progress(self, previous_size: int) -> None:
        size = self._transport.get_write_buffer_size()
        if size < previous_size:
            self._start_timer(size)
        else:
            self.drop()
