"""The processes of one local stack, with or without their supervisor.

Two variables in a process's own environment identify it, never a stored PID. Before it signals,
psutil compares the start time of the process, so a reused PID is safe.
"""

import contextlib
import os
from collections.abc import Sequence

import psutil

from pulumi_berth.local.run_dir import RunDir

RUN_DIR_VARIABLE = "BERTH_RUN_DIR"
"""Identifies every process of a stack, so that processes of a killed supervisor are found."""
PROCESS_VARIABLE = "BERTH_PROCESS"
"""Name of the process in the supervisor. Processes of an older version of Berth have none."""

# Added to the grace period of a process; also the time to end after it was killed.
_MARGIN_SECONDS = 5.0
_GRACE_VARIABLES = ("BERTH_GRACE_SECONDS", "GATEWAY_GRACE_SECONDS")


def find_processes(run_dir: RunDir) -> dict[psutil.Process, str]:
    """Return every process of the stack with its name, which is empty if it has none."""
    names: dict[psutil.Process, str] = {}
    for process in psutil.process_iter():
        environment = _read_environment(process)
        if environment.get(RUN_DIR_VARIABLE) == str(run_dir.path):
            names[process] = environment.get(PROCESS_VARIABLE, "")
    return names


def find_orphans(run_dir: RunDir, supervisor_pid: int | None) -> dict[psutil.Process, str]:
    """Return the processes of the stack that a killed supervisor left running, with their names.

    Args:
        supervisor_pid: The stack's running supervisor, or None if it does not run.
    """
    supervised: set[int] = set()
    if supervisor_pid is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(supervisor_pid).children(recursive=True)
            supervised = {child.pid for child in children}
    return {
        process: name
        for process, name in find_processes(run_dir).items()
        if process.pid not in supervised
    }


def end_processes(processes: Sequence[psutil.Process]) -> None:
    """Let the processes finish their requests, kill those that take too long, and wait for all."""
    grace_seconds = max((_get_grace_seconds(process) for process in processes), default=0.0)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace_seconds + _MARGIN_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_MARGIN_SECONDS)


def _get_grace_seconds(process: psutil.Process) -> float:
    environment = _read_environment(process)
    return max(float(environment.get(variable, 0)) for variable in _GRACE_VARIABLES)


def get_listening_ports(pid: int) -> set[int]:
    """Return the TCP ports on which a process of this user listens."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return set()
    return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}


def _read_environment(process: psutil.Process) -> dict[str, str]:
    try:
        if process.uids().real != os.getuid():
            return {}
        return dict(process.environ())
    except (psutil.Error, OSError):
        return {}
