"""A value that a thread reads again from time to time, while the view shows the last one."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

# A value that takes long to read is read less often, so that watching costs a stack little.
_REST_FACTOR = 10


class Background(Generic[T]):
    """A value that takes long to read, with the reason why the last attempt failed.

    Args:
        read: Reads the value. It may raise any exception.
        seconds: How old the value may become before it is read again.

    Attributes:
        value: The last value that was read, or None.
        problem: Why the last attempt failed, or None.
    """

    def __init__(self, read: Callable[[], T], seconds: float) -> None:
        self._read = read
        self._seconds = seconds
        self._key: Hashable = None
        self._due = 0.0
        self._thread: threading.Thread | None = None
        self.value: T | None = None
        self.problem: str | None = None

    def refresh(self, key: Hashable = None, *, waits: bool = False) -> None:
        """Read the value again if it is due or depends on another key, in the background.

        Args:
            key: What the value depends on.
            waits: Whether to wait until it has been read.
        """
        is_running = self._thread is not None and self._thread.is_alive()
        if not is_running and (key != self._key or time.monotonic() >= self._due):
            self._key = key
            # The program may end while the thread waits for a server.
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        if waits and self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        try:
            self.value, self.problem = self._read(), None
        except Exception as error:  # Each platform's libraries have their own exceptions.
            self.problem = describe_error(error)
        now = time.monotonic()
        self._due = now + max(self._seconds, _REST_FACTOR * (now - started))


def describe_error(error: Exception) -> str:
    """Return an error as one line of a limited length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
