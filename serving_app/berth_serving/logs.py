"""Logs: one JSON object a line on standard output, never with a payload."""

import asyncio
import json
import logging
import os
import select
import sys
from datetime import UTC, datetime

import orjson

LOG = logging.getLogger("berth")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up(level: str) -> None:
    """Write what is logged at `level` or above."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOG.setLevel(level.upper())


def log(level: int, message: str, **fields: object) -> None:
    """One line; `fields` are members of its object."""
    LOG.log(level, message, extra={"fields": fields})


class AnswerLog:
    """A line for each request that was answered, at a tenth of what a logging record costs.

    The lines of one turn of the event loop are written together, in pieces that a pipe takes
    whole, so that those of several workers do not mix.
    """

    def __init__(self) -> None:
        self._on = LOG.isEnabledFor(logging.INFO)
        self._lines: list[bytes] = []

    def write(self, request_id: bytes, seconds: float, shadow: bool) -> None:
        """One line; `shadow` tells that the answer went to nobody."""
        if not self._on:
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        line = {
            "time": datetime.now(UTC),
            "level": "info",
            "message": "answered",
            "request_id": request_id.decode(),
            "status": 200,
            "milliseconds": round(seconds * 1000, 3),
        }
        if shadow:
            line["shadow"] = True
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        piece = b""
        for line in lines:
            if len(piece) + len(line) > select.PIPE_BUF:
                _write(piece)
                piece = b""
            piece += line
        _write(piece)


def _write(piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(1, left) :]
