"""Admission: which runs fit into the memory of the berth, with others or only by themselves."""

from collections.abc import Callable
from dataclasses import dataclass

from berth_protocol.errors import RequestError
from berth_serving.model import MemoryExceededError

# A request whose estimate is up to this many times the available memory runs while nothing else
# runs, because the estimate can be too high. Beyond, it is rejected at once.
_UNCERTAINTY = 2
_MAX_REMEMBERED = 64


@dataclass(frozen=True)
class MemoryLimits:
    """The memory that requests may take.

    Attributes:
        run_bytes: Bytes that all runs in progress may take.
        queue_bytes: Bytes that the inputs of queued requests may take.
        estimate: Returns the bytes of a run with a number of rows and of elements.
    """

    run_bytes: int
    queue_bytes: int
    estimate: Callable[[int, int], int]


class RunMemory:
    """The memory that runs have reserved, and the sizes that are known not to fit.

    Args:
        limits: None for no limits: then every estimate is 0, and everything fits.
    """

    def __init__(self, limits: MemoryLimits | None) -> None:
        self._limits = limits
        self._reserved_bytes = 0
        self._too_large: list[tuple[int, int]] = []

    @property
    def is_limited(self) -> bool:
        """Whether there are limits."""
        return self._limits is not None

    @property
    def queue_bytes(self) -> int | None:
        """Bytes that the inputs of queued requests may take."""
        return None if self._limits is None else self._limits.queue_bytes

    def estimate(self, rows: int, elements: int) -> int:
        """Return the bytes that a run takes, also if it does not fit."""
        return 0 if self._limits is None else self._limits.estimate(rows, elements)

    def admit(self, rows: int, elements: int) -> int:
        """Return the bytes that a run takes.

        Raises:
            RequestError: 413 if the run certainly does not fit.
        """
        if self._limits is None:
            return 0
        size = self._limits.estimate(rows, elements)
        if size > _UNCERTAINTY * self._limits.run_bytes or any(
            rows >= failed_rows and elements >= failed_elements
            for failed_rows, failed_elements in self._too_large
        ):
            raise self._error(self._limits, size)
        return size

    def is_exclusive(self, size: int) -> bool:
        """Return whether a run of `size` bytes fits only while nothing else runs."""
        return self._limits is not None and size > self._limits.run_bytes

    def fits(self, size: int) -> bool:
        """Return whether `size` more bytes fit beside those that are reserved."""
        return self._limits is None or self._reserved_bytes + size <= self._limits.run_bytes

    def reserve(self, size: int) -> None:
        """Reserve the bytes of a run that starts."""
        self._reserved_bytes += size

    def release(self, size: int) -> None:
        """Release the bytes of a run, or of one request of it."""
        self._reserved_bytes -= size

    def reject_exclusive(self, rows: int, elements: int, size: int) -> RequestError:
        """Return the error of a request that ran by itself, and reject larger ones at once.

        Args:
            size: The estimate of `admit`.
        """
        if self._limits is None:
            return MemoryExceededError()
        if size <= self._limits.run_bytes // _UNCERTAINTY:
            # The values need the memory, not the size, or other parts of the process took it.
            return self._error(self._limits, self._limits.run_bytes)
        self._too_large.append((rows, elements))
        del self._too_large[:-_MAX_REMEMBERED]
        return self._error(self._limits, max(size, self._limits.run_bytes))

    @staticmethod
    def _error(limits: MemoryLimits, size: int) -> RequestError:
        return RequestError(
            413,
            f"The model needs about {max(1, size >> 20)} MiB of memory for this request; the"
            f" berth has {limits.run_bytes >> 20} MiB for requests. Send fewer or shorter"
            " rows in each request, or raise resources.memory.",
        )
