"""Logs: one JSON object a line on standard output, never with a payload."""

import json
import logging
import sys
from datetime import UTC, datetime

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
