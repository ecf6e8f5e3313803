"""The memory that the request bodies of a process may occupy together."""

import asyncio
import ctypes
import os
from collections.abc import Callable

from berth_protocol.cgroup import read_memory_limit
from berth_protocol.errors import RequestError, overload_error

SMALL_BODY_BYTES = 64 << 10
"""Bodies up to this length may use all of the memory, longer ones only `_LARGE_BODY_SHARE` of it.
A few long uploads therefore cannot keep out the short requests of other clients."""

_LARGE_BODY_SHARE = 0.75

# Of a container's memory, the program itself takes about a fifth (a gateway 47 MiB of 256 MiB),
# and decoding or forwarding a body needs room too.
_DEFAULT_SHARE = 4
_MAX_DEFAULT_BYTES = 1 << 30

# The allocator keeps freed memory for later. Below this amount, to return it is not worth the time.
_MIN_TRIMMED_BYTES = 8 << 20
_TRIM_DELAY_SECONDS = 1.0


class BodyMemory:
    """Counts the bytes of all bodies, from their arrival until their response is complete.

    Args:
        max_bytes: Maximum number of bytes. A body that is alone is always accepted, because every
            body has its own limit.

    Attributes:
        max_bytes: See above.
        used_bytes: Bytes of all bodies.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self._peak_bytes = 0
        self._trim = _find_trim()
        self._timer: asyncio.TimerHandle | None = None

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
            limit = int(limit * _LARGE_BODY_SHARE)
        if used > limit and used > own:
            raise self._overload()
        self.used_bytes = used
        self._peak_bytes = max(self._peak_bytes, used)

    def release(self, size: int) -> None:
        """Stop counting `size` bytes, and return freed memory to the operating system later."""
        self.used_bytes -= size
        is_worth_it = self._peak_bytes - self.used_bytes >= _MIN_TRIMMED_BYTES
        if is_worth_it and self._timer is None and self._trim is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_TRIM_DELAY_SECONDS, self._return_memory, self._trim)

    def _return_memory(self, trim: Callable[[int], int]) -> None:
        self._timer = None
        self._peak_bytes = self.used_bytes
        trim(0)

    def _overload(self) -> RequestError:
        return overload_error(
            f"The request bodies that are arriving occupy their {self.max_bytes} bytes of memory."
            " Retry later, or send fewer rows in each request."
        )


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
