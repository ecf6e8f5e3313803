"""The access log: one JSON object for each request, on standard output."""

import contextlib
import sys
import time
from datetime import UTC, datetime

import msgspec

from berth_gateway.exchange import Exchange


def write_access(exchange: Exchange) -> None:
    """Log who asked for what and how it ended: no payload, no query, no header, no key."""
    line = msgspec.json.encode(
        {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": exchange.request_id,
            "client": exchange.client or None,
            "method": exchange.method,
            "path": exchange.path,
            "status": exchange.status,
            "model": exchange.model or None,
            "version": exchange.version or None,
            "request_bytes": exchange.request_bytes,
            "answer_bytes": exchange.answer_bytes,
            "seconds": round(time.monotonic() - exchange.started, 6),
        }
    )
    # A log that nobody reads any more is no reason to fail requests.
    with contextlib.suppress(OSError):
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
