"""A command that is measured: how long it took, and what its processes used meanwhile."""

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
    "pulumi-resource-aws": "aws provider",
    "pulumi.policy": "policy pack",
}


@dataclass(frozen=True)
class Watched:
    """What came of a command.

    Attributes:
        code: its exit status; None when it was ended because its time was up.
        peaks: role of a process -> bytes that the largest one with that role held at most.
        work: role -> seconds of processor time that all with that role used; unlike `seconds`
            hardly touched by what else the machine does.
        log: file with what it wrote.
    """

    seconds: float
    code: int | None
    log: Path
    peaks: Mapping[str, int]
    work: Mapping[str, float]


@dataclass
class _Seen:
    """What was seen of the processes so far: (role, process id) -> bytes, and seconds."""

    peaks: dict[tuple[str, int], int] = field(default_factory=dict)
    work: dict[tuple[str, int], float] = field(default_factory=dict)

    def look(self, pid: int) -> None:
        """At the process and everything below it."""
        with contextlib.suppress(psutil.Error):
            top = psutil.Process(pid)
            for process in (top, *top.children(recursive=True)):
                with contextlib.suppress(psutil.Error, OSError):
                    key = (_role(process), process.pid)
                    self.work[key] = sum(process.cpu_times()[:2])
                    self.peaks[key] = _peak(process.pid)

    def watched(self, seconds: float, code: int | None, log: Path) -> Watched:
        peaks: dict[str, int] = {}
        work: dict[str, float] = {}
        for (role, _), peak in self.peaks.items():
            peaks[role] = max(peaks.get(role, 0), peak)
        for (role, _), used in self.work.items():
            work[role] = work.get(role, 0) + used
        return Watched(seconds, code, log, peaks, work)


def watch(
    command: list[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    limit_seconds: float,
) -> Watched:
    """Run `command` to its end, or for `limit_seconds`: then it is interrupted as by Ctrl-C."""
    seen = _Seen()
    with (
        log.open("wb") as output,
        _started(command, folder, environment, output.fileno()) as (process),
    ):
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < limit_seconds:
            seen.look(process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_SECONDS)
        return seen.watched(time.monotonic() - began, process.poll(), log)


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


def _role(process: psutil.Process) -> str:
    """By the program, which an interpreter names second, or as a module fourth."""
    for word in process.cmdline()[:4]:
        if role := _ROLES.get(Path(word).name):
            return role
    return "rest"


def _peak(pid: int) -> int:
    """The kernel's own record of the most that the process has had: no look can miss it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
