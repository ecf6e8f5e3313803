"""Logs as JSON lines, and request IDs that occur in them."""

import asyncio
import io
import json
import logging
import select
from collections.abc import Iterator
from typing import Any

import pytest

from berth_protocol.asgi import choose_request_id
from berth_protocol.json_logs import RequestLog, configure_logging, log_event


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """A stream for logs. The root logger's settings are restored afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def _read_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_log_line_has_time_level_message_and_fields(stream: io.StringIO) -> None:
    logger = logging.getLogger("test_json_logs")
    configure_logging(logger, "info", stream)
    log_event(logger, logging.WARNING, "Something happened", count=3)
    logger.debug("hidden")
    (line,) = _read_lines(stream)
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "message": "Something happened", "count": 3}


def test_log_line_has_stack_trace_of_exception(stream: io.StringIO) -> None:
    logger = logging.getLogger("test_json_logs")
    configure_logging(logger, "info", stream)
    try:
        raise ValueError("broken\ninput")
    except ValueError:
        logger.exception("Request failed")
    (line,) = _read_lines(stream)
    assert "ValueError: broken" in line["trace"]


def test_invalid_unicode_is_logged(stream: io.StringIO) -> None:
    logger = logging.getLogger("test_json_logs")
    configure_logging(logger, "info", stream)
    logger.error("no such file: %s", b"\xff".decode(errors="surrogateescape"))
    assert len(_read_lines(stream)) == 1


@pytest.mark.parametrize(
    ("level", "expected"), [("debug", ["library"]), ("warning", ["library"]), ("error", [])]
)
def test_libraries_log_warnings_only(stream: io.StringIO, level: str, expected: list[str]) -> None:
    configure_logging(logging.getLogger("test_json_logs"), level, stream)
    library = logging.getLogger("test_json_logs_library")
    library.info("hidden")
    library.warning("library")
    assert [line["message"] for line in _read_lines(stream)] == expected


async def test_request_log_writes_whole_lines_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    log = RequestLog()
    for number in range(3):
        log.write(message="Request completed", number=number, padding="x" * select.PIPE_BUF)
    await asyncio.sleep(0)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["number"] for line in lines] == [0, 1, 2]
    assert all("time" in line for line in lines)


def test_valid_request_id_is_kept() -> None:
    assert choose_request_id([(b"host", b"x"), (b"x-request-id", b"a.B_9:@/+=-")]) == b"a.B_9:@/+=-"


@pytest.mark.parametrize("value", [b"", b"with space", b"x" * 129, b"a;b", b'"', b"\xff"])
def test_invalid_request_id_is_replaced(value: bytes) -> None:
    first = choose_request_id([(b"x-request-id", value)])
    second = choose_request_id([])
    assert value not in (first, second)
    assert first != second
    assert choose_request_id([(b"x-request-id", first)]) == first
