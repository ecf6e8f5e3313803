"""How allocation settings of ONNX Runtime and glibc affect memory after a request, and CPU time.

Each row of the table is a process of its own, because allocators keep what they were set to. CPU
times are ratios to the first row, measured in the same run.
"""

import ctypes
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from berth_serving import memory
from tests.serving.networks import write_cnn, write_transformer

_MIB = 1 << 20
_LARGE = (128, 128)
_REPEATS = {(1, 16): 30, (8, 128): 5, (32, 128): 2}
_IMAGE = "image"
_PROVIDERS = ["CPUExecutionProvider"]


@dataclass(frozen=True)
class _Allocation:
    """Settings of one row.

    Attributes:
        has_arena: Use ONNX Runtime's arena and memory patterns, with their defaults.
        is_served: Use the settings of a berth instead.
        shrinks: Shrink the arena after each run.
        trims: Let glibc return freed memory after each run.
    """

    has_arena: bool = False
    is_served: bool = False
    shrinks: bool = False
    trims: bool = False


_ALLOCATIONS = {
    "ONNX Runtime's defaults": _Allocation(has_arena=True),
    "the same, arena shrunk after every run": _Allocation(has_arena=True, shrinks=True),
    "no arena, glibc's defaults": _Allocation(),
    "no arena, trimmed after every run": _Allocation(trims=True),
    "berth: exact arena, shrunk, large blocks mapped": _Allocation(
        is_served=True, shrinks=True, trims=True
    ),
}


def _measure(name: str, directory: Path) -> dict[str, float]:
    """Return MiB before and after a large request, and CPU milliseconds of each kind of run."""
    allocation = _ALLOCATIONS[name]
    onnxruntime.set_default_logger_severity(4)
    transformer = _load(directory / "transformer", allocation)
    cnn = _load(directory / "cnn", allocation)
    run = _runner(allocation)
    run(transformer, _tokens(1, 16))
    idle = _resident()
    run(transformer, _tokens(*_LARGE))
    results = {"idle": idle, "after": _resident()}
    for (rows, tokens), repeats in _REPEATS.items():
        one_run = partial(run, transformer, _tokens(rows, tokens))
        results[f"{rows}x{tokens}"] = _cpu_seconds(one_run, repeats) * 1000
    image = {"images": np.ones((1, 3, 224, 224), np.float32)}
    results[_IMAGE] = _cpu_seconds(partial(run, cnn, image), 10) * 1000
    return results


def _load(directory: Path, allocation: _Allocation) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = allocation.has_arena
    if allocation.is_served:
        options.enable_cpu_mem_arena = True
        memory.use_shared_arena(options)
    path = next(directory.rglob("model.onnx"))
    return onnxruntime.InferenceSession(path, options, providers=_PROVIDERS)


def _runner(allocation: _Allocation) -> Callable[[Any, dict[str, Any]], None]:
    trim = ctypes.CDLL(None).malloc_trim

    def run(session: Any, feeds: dict[str, Any]) -> None:
        options = onnxruntime.RunOptions()
        if allocation.shrinks:
            memory.shrink_arena_after(options)
        session.run(None, feeds, options)
        if allocation.trims:
            trim(0)

    return run


def _tokens(rows: int, tokens: int) -> dict[str, Any]:
    ones = np.ones((rows, tokens), np.int64)
    return {"input_ids": ones, "attention_mask": ones, "token_type_ids": ones - 1}


def _cpu_seconds(run: Callable[[], None], repeats: int) -> float:
    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    times = []
    for _ in range(repeats):
        before = used()
        run()
        times.append(used() - before)
    return min(times)


def _resident() -> float:
    return (memory.read_resident_bytes() or 0) / _MIB


def main() -> None:
    """Measure every allocation, and print a table in Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write_transformer(directory / "transformer")
        write_cnn(directory / "cnn")
        kinds = [*(f"{rows}x{tokens}" for rows, tokens in _REPEATS), _IMAGE]
        print(f"| allocation | idle, MiB | after {_LARGE[0]}x{_LARGE[1]}, MiB |", end="")
        print("".join(f" {kind} |" for kind in kinds))
        print("|---|---|---|" + "---|" * len(kinds))
        base: dict[str, float] | None = None
        for name in _ALLOCATIONS:
            output = subprocess.run(
                [sys.executable, "-m", "benchmarks.memory_return", name, folder],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            results: dict[str, float] = json.loads(output)
            base = base or results
            print(f"| {name} | {results['idle']:.0f} | {results['after']:.0f} |", end="")
            print("".join(f" {results[kind] / base[kind]:.2f} |" for kind in kinds), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]))))
    else:
        main()
