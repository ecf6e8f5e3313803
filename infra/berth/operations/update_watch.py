"""The watch over a running update: it interrupts the engine when waiting cannot help.

The engine waits for a Deployment until its deadline, also if its new container crashes each time it
is started.
"""

import signal
import subprocess
import threading
from collections.abc import Callable, Sequence

_POLL_SECONDS = 5.0

FindHopeless = Callable[[], Sequence[str]]
"""Returns what cannot become ready by waiting, one line each."""


class UpdateWatch:
    """A thread that watches one run of the engine.

    Attributes:
        found: What cannot become ready. Empty if the watch interrupted nothing.
    """

    def __init__(self, process: "subprocess.Popen[str]", find_hopeless: FindHopeless) -> None:
        self.found: list[str] = []
        self._process = process
        self._find_hopeless = find_hopeless
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "UpdateWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(_POLL_SECONDS):
            self.found = list(self._find_hopeless())
            if self.found:
                # The engine stops waiting, records what it has done, and ends.
                self._process.send_signal(signal.SIGINT)
                return
