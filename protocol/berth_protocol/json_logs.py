"""Logs: one JSON object per line. Payloads, keys and query strings are never logged."""

import asyncio
import contextlib
import json
import logging
import os
import select
from datetime import UTC, datetime
from typing import TextIO

import msgspec

_MAX_TRACE_CHARACTERS = 16_000


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _format_time(record.created),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            # An exception's message can be as long as a request.
            line["trace"] = self.formatException(record.exc_info)[-_MAX_TRACE_CHARACTERS:]
        # Unlike msgspec, json also writes text that is not valid Unicode.
        return json.dumps(line)


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def configure_logging(logger: logging.Logger, level: str, stream: TextIO) -> None:
    """Write all logs of this process to `stream`.

    Args:
        logger: The program's own logger, which logs at `level`. Libraries log at `warning`, except
            if `level` is higher.
        level: `debug`, `info`, `warning` or `error`.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonFormatter())
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    logger.setLevel(number)


def log_event(logger: logging.Logger, level: int, message: str, **fields: object) -> None:
    """Log a line with a message and additional fields."""
    logger.log(level, message, extra={"fields": fields})


class RequestLog:
    """A log with a line per request, on standard output, at a tenth of a log record's cost.

    Lines that are written in one turn of the event loop are written together. A piece is at most
    as long as a pipe accepts whole, so that lines of several processes do not mix.
    """

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def write(self, **fields: object) -> None:
        """Write a line with the current time and `fields`."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        line = {"time": datetime.now(UTC), **fields}
        self._lines.append(msgspec.json.encode(line) + b"\n")

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        piece = b""
        # A broken pipe must not fail requests.
        with contextlib.suppress(OSError):
            for line in lines:
                if len(piece) + len(line) > select.PIPE_BUF:
                    _write_all(piece)
                    piece = b""
                piece += line
            _write_all(piece)


def _write_all(piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(1, rest) :]
