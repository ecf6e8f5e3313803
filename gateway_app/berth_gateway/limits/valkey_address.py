"""The address of a Valkey server, as a URL, and what applies while it is unreachable."""

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote, urlsplit

_PORT = 6379
_USAGE = "must be valkey://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or valkeys:// for TLS"


class WhenUnreachable(StrEnum):
    """What a gateway does while it cannot reach Valkey. No request fails because of it."""

    OWN_LIMITS = "own-limits"
    """Apply each client's limits, counting only the requests of this gateway."""
    NO_LIMITS = "no-limits"
    """Let all requests pass, and count them."""


@dataclass(frozen=True, kw_only=True)
class ValkeyAddress:
    """Where a Valkey server is, and how to log in. Its text contains no password.

    Attributes:
        uses_tls: Whether the connection is encrypted and the server's certificate is checked.
        user: User name. None for the default user.
        password: Password. None if the server requires none.
        database: Number of the database.
    """

    host: str
    port: int = _PORT
    uses_tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_valkey_url(text: str) -> ValkeyAddress:
    """Parse a URL.

    Raises:
        ValueError: If the URL is invalid. The message does not contain it, because of the password.
    """
    try:
        url = urlsplit(text)
        port = url.port or _PORT
        database = int(url.path.removeprefix("/") or 0)
        if database < 0:
            raise ValueError(_USAGE)
    except ValueError:
        raise ValueError(_USAGE) from None
    if url.scheme not in ("valkey", "valkeys") or not url.hostname or url.query or url.fragment:
        raise ValueError(_USAGE)
    return ValkeyAddress(
        host=url.hostname,
        port=port,
        uses_tls=url.scheme == "valkeys",
        user=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else None,
        database=database,
    )
