"""Forwarded headers: which headers pass through the gateway, in each direction."""

from collections.abc import Iterable

from berth_protocol.asgi import RawHeaders
from berth_protocol.errors import RequestError
from berth_protocol.headers import (
    API_KEY,
    AUTHORIZATION,
    BERTH_PREFIX,
    REQUEST_ID,
    TOKEN,
    VERSION,
)

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# `host`, `content-length` and `expect` belong to the client's connection. The gateway sets the
# other headers itself, and all headers that begin with BERTH_PREFIX.
_DROPPED_FROM_REQUEST = _HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",
    API_KEY.encode(),
    AUTHORIZATION.encode(),
    REQUEST_ID.encode(),
}
_BERTH_PREFIX = BERTH_PREFIX.encode()
_DROPPED_FROM_RESPONSE = _HOP_BY_HOP | {b"date", b"server", VERSION.encode(), REQUEST_ID.encode()}


def build_berth_headers(
    headers: RawHeaders, request_id: str, token: str | None
) -> list[tuple[str, str]]:
    """Return the headers of a client's request as they are sent to a berth.

    Raises:
        RequestError: 400 if a value is not UTF-8, because it cannot be forwarded unchanged.
    """
    forwarded = [(REQUEST_ID, request_id)]
    dropped = _DROPPED_FROM_REQUEST | _connection_options(headers)
    for name, value in headers:
        if name not in dropped and not name.startswith(_BERTH_PREFIX):
            try:
                forwarded.append((name.decode("ascii"), value.decode()))
            except UnicodeDecodeError as error:
                text = name.decode("ascii", "replace")
                raise RequestError(
                    400, f"The value of header '{text}' is not UTF-8. Encode it in UTF-8."
                ) from error
    if token is not None:
        forwarded.append((TOKEN, token))
    return forwarded


def build_client_headers(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Return the headers of a berth's response as they are sent to the client, in lower case."""
    lowered = [(name.lower(), value) for name, value in headers]
    dropped = _DROPPED_FROM_RESPONSE | _connection_options(lowered)
    return [(name, value) for name, value in lowered if name not in dropped]


def _connection_options(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Return the headers that `Connection` restricts to this connection."""
    return frozenset(
        part.strip().lower()
        for name, value in headers
        if name == b"connection"
        for part in value.split(b",")
    )
