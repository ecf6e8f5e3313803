"""The limits that a container runtime sets for this process, from its control groups.

Versions 1 and 2: https://docs.kernel.org/admin-guide/cgroup-v2.html and
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html. A limit of an outer group also applies.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
# Without a limit, version 1 has a number near the largest one.
_UNLIMITED_BYTES = 1 << 60


def read_memory_limit(root: Path = _ROOT, own_groups: Path = _OWN_GROUPS) -> int | None:
    """Return the memory limit in bytes, or None if there is no limit."""
    limits = [
        int(text)
        for name in ("memory.max", "memory.limit_in_bytes")
        for directory in _find_groups(root, own_groups, "memory")
        if (text := _read(directory / name)).isdecimal()
    ]
    return min((limit for limit in limits if limit < _UNLIMITED_BYTES), default=None)


def count_cpus(root: Path = _ROOT, own_groups: Path = _OWN_GROUPS) -> int:
    """Return how many CPU cores this process may use, at least 1.

    A quota of 1.5 cores counts as 2: a thread more than the quota is throttled rarely, but a thread
    less would leave a part of the quota unused.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quotas = [float(cores or 1)]
    for directory in _find_groups(root, own_groups, "cpu"):
        # Version 2 has both numbers in one file, and `max` instead of the first.
        texts = _read(directory / "cpu.max").split() or [
            _read(directory / "cpu.cfs_quota_us"),
            _read(directory / "cpu.cfs_period_us"),
        ]
        if len(texts) == 2 and all(text.isdecimal() for text in texts) and int(texts[1]):
            quotas.append(int(texts[0]) / int(texts[1]))
    return max(1, math.ceil(min(quotas)))


def _find_groups(root: Path, own_groups: Path, controller: str) -> Iterator[Path]:
    """Yield the directories of this process's groups for a controller, and of all outer groups.

    A container usually sees its own group as the root.
    """
    for line in _read(own_groups).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        group = PurePosixPath(path.lstrip("/"))
        for part in (group, *group.parents):
            yield top / part


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
