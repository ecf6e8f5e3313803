"""A measured command: its duration, and the memory and CPU time of its processes."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_SAMPLE_SECONDS = 0.1
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
class CommandRun:
    """The result of a measured command.

    Attributes:
        seconds: The duration.
        code: The exit status, or None if it was interrupted at its time limit.
        log: The file with its output.
        peaks: Peak memory in bytes of the largest process of each role.
        work: CPU time in seconds of all processes of each role. Unlike `seconds`, it hardly
            depends on the other load of the machine.
    """

    seconds: float
    code: int | None
    log: Path
    peaks: Mapping[str, int]
    work: Mapping[str, float]


@dataclass
class _Samples:
    """Bytes and seconds of each process, by (role, PID)."""

    peaks: dict[tuple[str, int], int] = field(default_factory=dict)
    work: dict[tuple[str, int], float] = field(default_factory=dict)

    def take(self, pid: int) -> None:
        """Sample the process and its descendants."""
        with contextlib.suppress(psutil.Error):
            top = psutil.Process(pid)
            for process in (top, *top.children(recursive=True)):
                with contextlib.suppress(psutil.Error, OSError):
                    key = (_role(process), process.pid)
                    self.work[key] = sum(process.cpu_times()[:2])
                    self.peaks[key] = _peak(process.pid)

    def summarize(self, seconds: float, code: int | None, log: Path) -> CommandRun:
        peaks: dict[str, int] = {}
        work: dict[str, float] = {}
        for (role, _), peak in self.peaks.items():
            peaks[role] = max(peaks.get(role, 0), peak)
        for (role, _), used in self.work.items():
            work[role] = work.get(role, 0) + used
        return CommandRun(seconds, code, log, peaks, work)


def run_command(
    command: list[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    limit_seconds: float,
) -> CommandRun:
    """Run `command` and measure it. After `limit_seconds` it is interrupted, as by Ctrl-C."""
    samples = _Samples()
    with (
        log.open("wb") as output,
        _start(command, folder, environment, output.fileno()) as process,
    ):
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < limit_seconds:
            samples.take(process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SAMPLE_SECONDS)
        return samples.summarize(time.monotonic() - began, process.poll(), log)


@contextlib.contextmanager
def _start(
    command: list[str], folder: Path, environment: Mapping[str, str], output: int
) -> "Iterator[subprocess.Popen[bytes]]":
    """Start the command in its own process group, which ends with the block."""
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
    """Return the role by the program, which may follow an interpreter, or `-m` and its options."""
    for word in process.cmdline()[:4]:
        if role := _ROLES.get(Path(word).name):
            return role
    return "rest"


def _peak(pid: int) -> int:
    """Return the kernel's record of the process's peak memory, which no sample can miss."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
