"""The memory of the serving process: what it may use, and how it returns what it used.

By default, ONNX Runtime's arena keeps the memory of the largest request for ever, and glibc keeps
freed memory too. Measured on two busy cores: resident MiB of a transformer of MiniLM's size (146
without requests) after a request of [128, 128], and CPU milliseconds of one row of 16 tokens, of 8
rows of 128 tokens, of 32 rows of 128 tokens, and of one image through a ResNet-18.

| allocation | after | 1x16 | 8x128 | 32x128 | image |
|---|---|---|---|---|---|
| arena that doubles, memory pattern (ONNX Runtime's defaults) | 571 | 4.0 | 305 | 1480 | 39 |
| the same, arena shrunk after every run | 237 | | | | |
| no arena, no pattern, glibc's defaults | 503 | 4.0 | 316 | 1520 | 39 |
| no arena, no pattern, trimmed after every run | 148 | 4.7 | 330 | 1610 | 43 |
| no arena, no pattern, blocks from 1 MiB mapped | 200 | 4.0 | 560 | 2760 | 44 |
| exact arena, shrunk after large runs, blocks from 1 MiB mapped | 148 | 4.4 | 354 | 1640 | 42 |

The last row is used. The arena reuses blocks within a run and returns them after it, so a run also
takes less at its peak (50 MiB for [16, 128]; 130 MiB without an arena, because of gaps in the
heap). Shrinkage adds 3 us to a run of 10 us, so runs that take little memory go without it. ONNX
Runtime keeps a memory pattern for every input shape that a client ever sends, so it is off.
"""

import contextlib
import ctypes
import resource
from collections.abc import Callable
from functools import cache
from pathlib import Path

import onnxruntime

LARGE_BYTES = 4 << 20
"""After a run that takes this much memory, freed memory is returned to the operating system."""

# glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MAPPED_BYTES = 1 << 20
_KEPT_BYTES = 8 << 20

# The run option of ONNX Runtime that returns the arena's free memory after the run.
_SHRINKAGE = "memory.enable_memory_arena_shrinkage"
_EXTEND_AS_REQUESTED = 1

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def _find(name: str) -> Callable[..., int] | None:
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None  # Not glibc, such as on macOS.
    return function


_MALLOPT = _find("mallopt")
_MALLOC_TRIM = _find("malloc_trim")


@cache
def configure_allocators() -> None:
    """Let large blocks of memory return to the operating system when they are free.

    Call it before the first session is created, which needs `use_shared_arena`.
    """
    if _MALLOPT is not None:
        _MALLOPT(_M_ARENA_MAX, 1)
        _MALLOPT(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
        _MALLOPT(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    # 0 and -1 mean ONNX Runtime's defaults, which have no limit.
    settings = {
        "max_mem": 0,
        "arena_extend_strategy": _EXTEND_AS_REQUESTED,
        "initial_chunk_size_bytes": -1,
        "max_dead_bytes_per_chunk": -1,
    }
    onnxruntime.create_and_register_allocator(info, onnxruntime.OrtArenaCfg(settings))


def use_shared_arena(options: onnxruntime.SessionOptions) -> None:
    """Let a session use the arena of `configure_allocators`, except for its weights."""
    configure_allocators()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.enable_mem_pattern = False


def shrink_arena_after(options: onnxruntime.RunOptions) -> None:
    """Return the memory of a run when it ends, also by an error."""
    options.add_run_config_entry(_SHRINKAGE, "cpu:0")


def return_memory() -> None:
    """Return freed memory to the operating system. Takes about 1 ms per 10 MiB."""
    if _MALLOC_TRIM is not None:
        _MALLOC_TRIM(0)


def read_resident_bytes() -> int | None:
    """Return the memory that the process occupies, or None where it cannot be read."""
    return _read_status("VmRSS")


def measure_peak(run: Callable[[], object]) -> int | None:
    """Return how much the resident memory grew, at most, while `run` ran; or None if unknown."""
    return_memory()
    before = _read_status("VmRSS")
    try:
        # https://docs.kernel.org/filesystems/proc.html: sets the peak to the current size.
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        before = None
    run()
    peak = _read_status("VmHWM")
    return None if before is None or peak is None else max(0, peak - before)


def limit_growth(size: int) -> None:
    """Let the process allocate at most `size` bytes more than now. Beyond, an allocation fails.

    A failed allocation ends one request; the kernel would end the whole process. This is the
    second line of defense, for a request that takes more than its estimate.
    """
    allocated = _read_status("VmData")
    if allocated is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = allocated + size
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (soft if hard < 0 else min(soft, hard), hard))


def _read_status(field: str) -> int | None:
    try:
        text = _STATUS.read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) << 10
    return None
