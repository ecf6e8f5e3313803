"""Ports of this machine, and HTTP requests to them."""

import socket
import ssl
from typing import Any

LOOPBACK = "127.0.0.1"

_REQUEST_SECONDS = 2.0


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
    # httpx takes about 0.1 s to import, which only the commands that use it should pay.
    import httpx

    # Loading CA certificates is slow, and a loopback request uses neither TLS nor a proxy.
    no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with httpx.Client(timeout=_REQUEST_SECONDS, trust_env=False, verify=no_certificates) as client:
        try:
            response = client.get(f"http://{LOOPBACK}:{port}{path}")
        except httpx.HTTPError:
            return None
    try:
        return response.status_code, response.json()
    except ValueError:
        return response.status_code, None
