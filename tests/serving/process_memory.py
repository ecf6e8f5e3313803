"""The memory of a running berth, which Linux reports."""

from pathlib import Path

from tests.serving.berth import Berth


def reset_peak(berth: Berth) -> int:
    """Return the berth's resident memory in bytes, which becomes its peak `VmHWM`."""
    # https://docs.kernel.org/filesystems/proc.html: 5 resets the peak.
    Path(f"/proc/{berth.process.pid}/clear_refs").write_text("5")
    return read_memory(berth, "VmHWM")


def read_memory(berth: Berth, field: str) -> int:
    """Return a field of the berth's memory statistics, in bytes."""
    for line in Path(f"/proc/{berth.process.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) << 10
    raise AssertionError(field)
