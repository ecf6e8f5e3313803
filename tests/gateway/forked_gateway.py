"""A gateway process that is forked from a process with the imported third-party packages.

Importing them takes nine tenths of the CPU time of a start. The packages of Berth are imported in
each process, which also sets its own environment first, as for `python -m berth_gateway`.
"""

import multiprocessing
import os
import runpy
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_PACKAGES = (
    *("aiohttp", "cryptography", "httptools", "libvalkey", "msgspec", "prometheus_client"),
    *("uvicorn", "uvloop", "valkey.asyncio"),
)
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(_PACKAGES))


def fork_gateway(
    directory: Path, environment: Mapping[str, str], out: Path, err: Path
) -> ForkServerProcess:
    """Start a gateway in `directory` that appends to the files `out` and `err`."""
    process = _CONTEXT.Process(
        target=_run, args=(str(directory), dict(environment), str(out), str(err)), daemon=True
    )
    process.start()
    return process


def _run(directory: str, environment: dict[str, str], out: str, err: str) -> None:
    for path, descriptor in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    runpy.run_module("berth_gateway", run_name="__main__", alter_sys=True)
