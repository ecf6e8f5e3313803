"""The memory that the request bodies of a process may occupy together."""

import asyncio
import ctypes
import os
from collections.abc import Callable
from typing import Protocol

from berth_protocol.cgroup import read_memory_limit
from berth_protocol.errors import RequestError, overload_error

SMALL_BODY_BYTES = 64 << 10
"""Bodies up to this length may use all of the memory, longer ones only `_LARGE_BODY_SHARE` of it.
A few long uploads therefore cannot keep out the short requests of other clients."""
PART_BYTES = 320 << 10
"""Room for the next part of a long body: what uvloop reads at once (256,000 bytes, its
`UV_STREAM_RECV_BUF_SIZE`) on top of the 64 KiB at which uvicorn stops reading."""

STALL_SECONDS = 5.0
"""Time after which a long body that arrives too slowly is dropped, if another one waits."""
MIN_BYTES_PER_SECOND = 16 << 10
"""Rate below which a long body arrives too slowly. At this rate, the smallest long body takes 4 s;
one of 10 MiB would take more than ten minutes, and exceed any time limit."""

_LARGE_BODY_SHARE = 0.75
# The first bytes of the bodies that wait. Further ones are rejected.
_WAITING_SHARE = 0.875

# Of a container's memory, the program itself takes about a fifth (a gateway 47 MiB of 256 MiB),
# and decoding or forwarding a body needs room too.
_DEFAULT_SHARE = 4
_MAX_DEFAULT_BYTES = 1 << 30

# The allocator keeps freed memory for later. Below this amount, to return it is not worth the time.
_MIN_TRIMMED_BYTES = 8 << 20
_TRIM_DELAY_SECONDS = 1.0


class BodyHolder(Protocol):
    """A request whose body counts.

    Attributes:
        held_bytes: Bytes that are counted for it.
        received_bytes: Bytes of the body that have arrived.
    """

    held_bytes: int
    received_bytes: int

    def is_arriving(self) -> bool:
        """Return whether the server waits for the client to send more of the body."""
        ...

    def drop_stalled(self) -> None:
        """Reject a body that arrives too slowly while others wait for its memory."""
        ...


class BodyMemory:
    """Counts the bytes of all bodies, from their arrival until their response is complete.

    A long body that finds no room waits: its connection is not read. So that waiting bodies cannot
    block each other, a part of the memory is kept for one of them, which can therefore complete
    whatever the others hold. This part passes to another body while the others leave it free, so
    that a client that stops sending does not keep it.

    While a body waits, those that arrive at less than `MIN_BYTES_PER_SECOND` are dropped. Otherwise
    a client that sends nearly all of a long body, and stops, would delay the long bodies of others
    until its time limit.

    Args:
        max_bytes: Maximum number of bytes. While no other body holds memory, a body of any
            size is accepted, because every body has its own limit.
        max_body_bytes: Maximum size of one body: the part that is kept.
        stall_seconds: How long a body may arrive too slowly.

    Attributes:
        max_bytes: See above.
        max_body_bytes: See above.
        used_bytes: Bytes of all bodies.
    """

    def __init__(
        self, max_bytes: int, max_body_bytes: int = 0, stall_seconds: float = STALL_SECONDS
    ) -> None:
        self.max_bytes = max_bytes
        self.max_body_bytes = max_body_bytes
        self.used_bytes = 0
        self._peak_bytes = 0
        # The body that may use the part that is kept for one.
        self._first: BodyHolder | None = None
        self._waiting: dict[BodyHolder, tuple[int, asyncio.Future[None]]] = {}
        self._trim = _find_trim()
        self._timer: asyncio.TimerHandle | None = None
        self._stall_seconds = stall_seconds
        # Bytes that each long body had at the last check, while a body waits.
        self._arrived: dict[BodyHolder, int] = {}
        self._holders: set[BodyHolder] = set()
        self._stall_timer: asyncio.TimerHandle | None = None

    def reserve(self, size: int, own_bytes: int) -> None:
        """Count `size` more bytes of a body.

        Args:
            own_bytes: Bytes of this body that are already counted.

        Raises:
            RequestError: 503 if the bodies of other requests occupy the memory. The bytes are not
                counted.
        """
        used = self.used_bytes + size
        own = own_bytes + size
        limit = self.max_bytes
        if own > SMALL_BODY_BYTES:
            limit = int(limit * _WAITING_SHARE)
        if used > limit and used > own:
            raise self.build_error()
        self.used_bytes = used
        self._peak_bytes = max(self._peak_bytes, used)

    async def wait_for_room(self, holder: BodyHolder, size: int) -> None:
        """Return when there is room for `size` more bytes of a long body, which are then counted.

        Bodies get room in the order in which they began to wait.
        """
        if self._has_room(holder, size):
            self._book(holder, size)
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[holder] = size, granted
        if self._stall_timer is None:
            self._start_stall_timer()
        try:
            await granted
        finally:
            self._waiting.pop(holder, None)

    def stop_waiting(self, holder: BodyHolder) -> None:
        """Let `wait_for_room` return without room."""
        _, granted = self._waiting.pop(holder, (0, None))
        if granted is not None and not granted.done():
            granted.set_result(None)

    def is_waiting(self, holder: BodyHolder) -> bool:
        """Return whether a body waits for room."""
        return holder in self._waiting

    def remove(self, holder: BodyHolder) -> None:
        """Stop counting all bytes of a body."""
        if self._first is holder:
            self._first = None
        self._holders.discard(holder)
        size, holder.held_bytes = holder.held_bytes, 0
        self.release(size)

    def release(self, size: int) -> None:
        """Stop counting `size` bytes, and return freed memory to the operating system later."""
        self.used_bytes -= size
        self._admit_waiting()
        is_worth_it = self._peak_bytes - self.used_bytes >= _MIN_TRIMMED_BYTES
        if is_worth_it and self._timer is None and self._trim is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_TRIM_DELAY_SECONDS, self._return_memory, self._trim)

    def build_error(self) -> RequestError:
        """Return the error of a body for which there is no room."""
        return overload_error(
            f"The request bodies that are arriving occupy their {self.max_bytes} bytes of memory."
            " Retry later, or send fewer rows in each request."
        )

    def _has_room(self, holder: BodyHolder, size: int) -> bool:
        limit = int(self.max_bytes * _LARGE_BODY_SHARE) - self.max_body_bytes
        if self.used_bytes + size <= limit:
            return True
        if self._first is None or self.used_bytes - holder.held_bytes <= limit:
            # All other bodies leave the kept part free, so this one can complete with it.
            self._first = holder
        return self._first is holder

    def _start_stall_timer(self) -> None:
        self._arrived = {
            holder: holder.received_bytes for holder in self._holders if holder.is_arriving()
        }
        loop = asyncio.get_running_loop()
        self._stall_timer = loop.call_later(self._stall_seconds, self._drop_stalled)

    def _drop_stalled(self) -> None:
        self._stall_timer = None
        if not self._waiting:
            self._arrived.clear()
            return
        min_bytes = self._stall_seconds * MIN_BYTES_PER_SECOND
        for holder, before in self._arrived.items():
            is_slow = holder.received_bytes - before < min_bytes
            if is_slow and holder in self._holders and holder.is_arriving():
                holder.drop_stalled()
        self._start_stall_timer()

    def _book(self, holder: BodyHolder, size: int) -> None:
        self._holders.add(holder)
        holder.held_bytes += size
        self.used_bytes += size
        self._peak_bytes = max(self._peak_bytes, self.used_bytes)

    def _admit_waiting(self) -> None:
        for holder, (size, granted) in [*self._waiting.items()]:
            if self._has_room(holder, size):
                self._waiting.pop(holder)
                if not granted.done():
                    self._book(holder, size)
                    granted.set_result(None)

    def _return_memory(self, trim: Callable[[int], int]) -> None:
        self._timer = None
        self._peak_bytes = self.used_bytes
        trim(0)


def default_body_memory() -> int:
    """Return a quarter of the container's memory limit or, without a limit, of the memory.

    At most 1 GiB.
    """
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(_MAX_DEFAULT_BYTES, min(total, read_memory_limit() or total) // _DEFAULT_SHARE)


def _find_trim() -> Callable[[int], int] | None:
    """Return glibc's `malloc_trim`, or None on another C library."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    return trim
