"""Waiting until a supervised process is ready, and the reason if it is not."""

import json
import time
from collections.abc import Callable, Collection

from pulumi_berth.local import supervisord
from pulumi_berth.local.run_dir import RunDir

_POLL_SECONDS = 0.05
_LOG_LINES = 5
# States of a process that exited although the supervisor did not stop it.
_FAILED_STATES = frozenset({"BACKOFF", "EXITED", "FATAL", "UNKNOWN"})


class NotReadyError(RuntimeError):
    """A process exited or was not ready in time. The message has its last log lines."""


def wait_until_ready(
    run_dir: RunDir, names: Collection[str], is_ready: Callable[[], bool], *, seconds: float
) -> None:
    """Return when `is_ready()` is true for the processes `names`.

    A process that exits after more than a second counts as running until then, and the supervisor
    starts it again at once. So another PID also means that it exited.

    Raises:
        NotReadyError: If a process exits, or if `seconds` pass.
    """
    deadline = time.monotonic() + seconds
    first_pids: dict[str, int] = {}
    while time.monotonic() < deadline:
        if is_ready():
            return
        runs = supervisord.get_runs(run_dir)
        for name in names:
            state, pid = runs.get(name, ("UNKNOWN", 0))
            has_restarted = bool(pid) and first_pids.setdefault(name, pid) != pid
            if state in _FAILED_STATES or has_restarted:
                raise NotReadyError(
                    f"Process {name} exited during startup. Its last log lines: "
                    f"{read_last_log_lines(run_dir, name)}"
                )
        time.sleep(_POLL_SECONDS)
    raise NotReadyError(
        f"Timed out: {' and '.join(names)} not ready within {seconds:g} s. Last log lines: "
        f"{' | '.join(read_last_log_lines(run_dir, name) for name in names)}"
    )


def read_last_log_lines(run_dir: RunDir, name: str) -> str:
    """Return the last lines of the process's log. Of a JSON line, return only the message."""
    try:
        lines = run_dir.log(name).read_text(errors="replace").splitlines()[-_LOG_LINES:]
    except OSError:
        lines = []
    return " | ".join(_extract_message(line) for line in lines) or "the log is empty"


def _extract_message(line: str) -> str:
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if not isinstance(record, dict):
        return line
    texts = [str(record[key]) for key in ("message", "error", "reason") if key in record]
    return ": ".join(texts) or line
