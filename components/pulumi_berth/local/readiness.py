"""Waiting until a supervised process is ready, and the reason if it is not."""

import json
import time
from collections.abc import Callable

from pulumi_berth.local import supervisord
from pulumi_berth.local.run_dir import RunDir

_POLL_SECONDS = 0.05
_LOG_LINES = 5
# States of a process that exited although the supervisor did not stop it.
_FAILED_STATES = frozenset({"BACKOFF", "EXITED", "FATAL", "UNKNOWN"})


class NotReadyError(RuntimeError):
    """A process exited or was not ready in time. The message has its last log lines."""


def wait_until_ready(
    run_dir: RunDir, name: str, is_ready: Callable[[], bool], *, seconds: float
) -> None:
    """Return when `is_ready()` is true for the process `name`.

    Raises:
        NotReadyError: If the process exits, or if `seconds` pass.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_ready():
            return
        state = supervisord.get_states(run_dir).get(name, "UNKNOWN")
        if state in _FAILED_STATES:
            raise NotReadyError(
                f"Process {name} exited during startup. Its last log lines: "
                f"{read_last_log_lines(run_dir, name)}"
            )
        time.sleep(_POLL_SECONDS)
    raise NotReadyError(
        f"Process {name} was not ready within {seconds:g} s. Its last log lines: "
        f"{read_last_log_lines(run_dir, name)}"
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
