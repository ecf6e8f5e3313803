"""Ports of this machine, and HTTP requests to them."""

import json
import socket
from collections.abc import Mapping
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any

LOOPBACK = "127.0.0.1"

_REQUEST_SECONDS = 2.0
# Another program may have taken the port. Berth's own responses have less than a kilobyte.
_RESPONSE_BYTES = 1 << 20


def find_free_port() -> int:
    """Return a TCP port that no process listens on.

    Another process can take the port before the caller does, so the caller must retry.
    """
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_port_taken(port: int, host: str = LOOPBACK) -> bool:
    """Check whether a process listens on `port` of `host`."""
    with socket.socket() as probe:
        # Servers set SO_REUSEADDR, so a port in the state TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def get_json(port: int, path: str) -> tuple[int, Any] | None:
    """Send `GET path` to a port of this machine.

    Returns:
        The status and the JSON body (None if the body is not JSON), or None if no server responded.
    """
    response = _get(port, path)
    if response is None:
        return None
    status, body = response
    try:
        return status, json.loads(body)
    except (ValueError, RecursionError):
        return status, None


def get_text(
    port: int,
    path: str,
    headers: Mapping[str, str] | None = None,
    *,
    limit: int = _RESPONSE_BYTES,
) -> str | None:
    """Send `GET path` to a port of this machine, and return the text of a successful response.

    Args:
        limit: Maximum length of the response in bytes. The rest is not read.
    """
    response = _get(port, path, headers, limit)
    if response is None or response[0] != HTTPStatus.OK:
        return None
    return response[1].decode(errors="replace")


def _get(
    port: int,
    path: str,
    headers: Mapping[str, str] | None = None,
    limit: int = _RESPONSE_BYTES,
) -> tuple[int, bytes] | None:
    # The provider process, which every update starts, would need 0.1 s to import httpx.
    connection = HTTPConnection(LOOPBACK, port, timeout=_REQUEST_SECONDS)
    with closing(connection):
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read(limit)
        except (OSError, HTTPException):
            return None
