"""Which headers pass through the gateway, and in which direction."""

from collections.abc import Iterable

from berth_gateway.exchange import RawHeaders
from berth_gateway.refusal import RefusalError

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
# `host`, `content-length` and `expect` belong to the connection a request came on; the rest
# is between client and gateway, or between gateway and berth, and nobody else may set it. The
# same is true of all that begins with _BERTHS.
_NOT_TO_BERTH = _HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"x-api-key",
    b"x-request-id",
}
_BERTHS = b"x-berth-"
_NOT_TO_CLIENT = _HOP_BY_HOP | {b"date", b"server", b"x-berth-version", b"x-request-id"}


def to_berth(headers: RawHeaders, request_id: str, token: str | None) -> list[tuple[str, str]]:
    """The headers of a client's request as a berth shall see them.

    Raises:
        RefusalError: 400 for a value that is not UTF-8, which cannot be passed on as it is.
    """
    kept = [("x-request-id", request_id)]
    dropped = _NOT_TO_BERTH | _named_by_connection(headers)
    for name, value in headers:
        if name not in dropped and not name.startswith(_BERTHS):
            try:
                kept.append((name.decode("ascii"), value.decode()))
            except UnicodeDecodeError as error:
                text = name.decode("ascii", "replace")
                raise RefusalError(400, f"header {text}: its value must be UTF-8") from error
    if token is not None:
        kept.append(("x-berth-token", token))
    return kept


def to_client(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """The headers of a berth's answer as the client shall see them; names in lower case."""
    lowered = [(name.lower(), value) for name, value in headers]
    dropped = _NOT_TO_CLIENT | _named_by_connection(lowered)
    return [(name, value) for name, value in lowered if name not in dropped]


def _named_by_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Headers that `Connection` says are for this hop only."""
    return frozenset(
        part.strip().lower()
        for name, value in headers
        if name == b"connection"
        for part in value.split(b",")
    )
