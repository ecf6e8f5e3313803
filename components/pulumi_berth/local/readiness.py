"""Waiting for a supervised process to be ready, and saying why one is not."""

import http.client
import json
import time
from collections.abc import Callable
from typing import Any

from pulumi_berth.local import supervisord
from pulumi_berth.local.run_dir import RunDir

_POLL_SECONDS = 0.05
_ATTEMPT_SECONDS = 2.0
_LAST_LINES = 5
# Supervisor's words for a process that ended although nobody asked it to.
_FAILED = {"BACKOFF", "EXITED", "FATAL", "UNKNOWN"}


class NotReadyError(RuntimeError):
    """A process ended, or was not ready in time; the message has its last words."""


def get_json(port: int, path: str) -> tuple[int, Any]:
    """Status and JSON body of `GET path` on a port of this machine (None where not JSON).

    Raises:
        OSError, http.client.HTTPException: no HTTP answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ATTEMPT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    try:
        return response.status, json.loads(body)
    except ValueError:
        return response.status, None


def wait_until_ready(
    run_dir: RunDir, name: str, ready: Callable[[], bool], *, seconds: float
) -> None:
    """Return when `ready()` holds for the process `name`.

    Raises:
        NotReadyError: the process ended, or `seconds` passed.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except (OSError, http.client.HTTPException):
            pass  # not listening yet
        state = supervisord.states(run_dir).get(name, "UNKNOWN")
        if state in _FAILED:
            raise NotReadyError(f"{name} ended at start: {last_words(run_dir, name)}")
        time.sleep(_POLL_SECONDS)
    raise NotReadyError(f"{name} was not ready within {seconds:g} s: {last_words(run_dir, name)}")


def last_words(run_dir: RunDir, name: str) -> str:
    """The last lines of the process's log, the JSON ones by their message."""
    try:
        lines = run_dir.log(name).read_text(errors="replace").splitlines()[-_LAST_LINES:]
    except OSError:
        lines = []
    return " | ".join(_message(line) for line in lines) or "it wrote nothing"


def _message(line: str) -> str:
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if not isinstance(record, dict):
        return line
    said = [str(record[key]) for key in ("message", "error", "reason") if key in record]
    return ": ".join(said) or line
