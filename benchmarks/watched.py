"""A command that is measured: how long it took, and what its processes had in memory at most."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_LOOK_SECONDS = 0.1
_END_SECONDS = 120
_ROLES = {
    "pulumi": "engine",
    "pulumi-language-python": "language host",
    "pulumi-language-python-exec": "program",
    "pulumi-resource-kubernetes": "kubernetes provider",
}


@dataclass(frozen=True)
class Watched:
    """What came of a command.

    Attributes:
        code: its exit status; None when it was ended because its time was up.
        peaks: role of a process -> bytes that the largest one with that role held at most.
        log: file with what it wrote.
    """

    seconds: float
    code: int | None
    log: Path
    peaks: Mapping[str, int] = field(default_factory=dict)


def watch(
    command: list[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    limit_seconds: float,
) -> Watched:
    """Run `command` to its end, or for `limit_seconds`: then it is interrupted as by Ctrl-C."""
    peaks: dict[str, int] = {}
    with (
        log.open("wb") as output,
        _started(command, folder, environment, output.fileno()) as (process),
    ):
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < limit_seconds:
            _look(process.pid, peaks)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_SECONDS)
        seconds = time.monotonic() - began
        return Watched(seconds, process.poll(), log, peaks)


@contextlib.contextmanager
def _started(
    command: list[str], folder: Path, environment: Mapping[str, str], output: int
) -> "Iterator[subprocess.Popen[bytes]]":
    """The running command, in a process group of its own, which ends with the block."""
    process = subprocess.Popen(
        command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output,
        stderr=output, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        for sign, seconds in ((signal.SIGINT, _END_SECONDS), (signal.SIGKILL, None)):
            if process.poll() is None:
                os.killpg(process.pid, sign)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)


def _look(pid: int, peaks: dict[str, int]) -> None:
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error, OSError):
                if role := _role(process):
                    peaks[role] = max(peaks.get(role, 0), _peak(process.pid))


def _role(process: psutil.Process) -> str | None:
    """By the program, which a script's interpreter names second."""
    for word in process.cmdline()[:2]:
        if role := _ROLES.get(Path(word).name):
            return role
    return None


def _peak(pid: int) -> int:
    """The kernel's own record of the most that the process has had: no look can miss it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
