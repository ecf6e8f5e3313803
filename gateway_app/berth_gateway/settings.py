"""Settings of one gateway process: environment variables named `GATEWAY_*`."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from berth_gateway.limits.valkey_address import (
    ValkeyAddress,
    WhenUnreachable,
    parse_valkey_url,
)
from berth_protocol.body_memory import default_body_memory
from berth_protocol.environment import (
    BODY_MEMORY,
    LOG_LEVELS,
    PORT,
    EnvironmentReader,
    directory,
    number,
    one_of,
    token_file,
    whole_number,
)

_PREFIX = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one gateway process.

    Attributes:
        host: Address that clients connect to.
        port: TCP port on `host`.
        authorize_port: TCP port on `host` for external authorization. None disables it.
        trusts_forwarded_for: Whether every caller is an ingress controller that sets
            X-Forwarded-For to the client's address.
        admin_host: Address for health and metrics.
        admin_port: TCP port on `admin_host`.
        config_file: File with the gateway configuration. SIGHUP reloads it.
        watch_seconds: Time between two checks for changed files, in seconds. 0 disables them.
        state_dir: Directory that keeps the quota counters across restarts.
        token_file: File with the token that berths require. None sends no token.
        grace_seconds: Maximum time from SIGTERM to exit, in seconds.
        connection_requests: Requests after which a connection is closed. None keeps it.
        body_memory_bytes: Memory for all request bodies together, in bytes. Unfinished heads, and
            responses that clients take slowly, get as much.
        handover: Unix socket over which gateway processes with the same value hand over their
            listening sockets: one serves, the others wait. None for a process of its own.
        entry: Unix socket of the entry that holds the listening sockets (`berth_gateway.entry`).
            Gateways of one entry take turns. None if this process listens itself.
        prepared_file: File that is created when this process holds the entry's sockets.
        valkey: Valkey server that keeps the limits of several gateways. None if this gateway keeps
            them itself.
        valkey_prefix: First part of the keys in Valkey. Gateways with the same prefix share limits.
        when_unreachable: What the gateway does while it cannot reach Valkey.
        log_level: One of LOG_LEVELS. The access log needs `info`.
    """

    host: str
    port: int
    authorize_port: int | None
    trusts_forwarded_for: bool
    admin_host: str
    admin_port: int
    config_file: Path
    watch_seconds: float
    state_dir: Path
    token_file: Path | None
    grace_seconds: float
    connection_requests: int | None
    body_memory_bytes: int
    handover: Path | None
    entry: Path | None
    prepared_file: Path | None
    valkey: ValkeyAddress | None
    valkey_prefix: str
    when_unreachable: WhenUnreachable
    log_level: str


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        SettingError: If a variable is missing or invalid.
    """
    read = EnvironmentReader(environment, "GATEWAY_").read
    return Settings(
        host=read("HOST", "127.0.0.1", str),
        port=read("PORT", None, PORT),
        authorize_port=read("AUTHORIZE_PORT", "", _optional_port),
        trusts_forwarded_for=read("TRUST_FORWARDED_FOR", "0", one_of(("0", "1"))) == "1",
        admin_host=read("ADMIN_HOST", "127.0.0.1", str),
        admin_port=read("ADMIN_PORT", None, PORT),
        config_file=read("CONFIG", None, Path),
        watch_seconds=read("WATCH_SECONDS", "0", number(0, 3600)),
        state_dir=read("STATE_DIR", None, _writable_directory),
        token_file=read("TOKEN_FILE", "", _optional_path),
        grace_seconds=read("GRACE_SECONDS", "30", number(0.1, 3600)),
        connection_requests=read("CONNECTION_REQUESTS", "0", whole_number(0, 10**9)) or None,
        body_memory_bytes=read("BODY_MEMORY_BYTES", str(default_body_memory()), BODY_MEMORY),
        handover=read("HANDOVER", "", _optional_path),
        entry=read("ENTRY", "", _optional_path),
        prepared_file=read("PREPARED_FILE", "", _optional_path),
        valkey=read("VALKEY_URL_FILE", "", _optional_valkey),
        valkey_prefix=read("VALKEY_PREFIX", "berth", _prefix),
        when_unreachable=read("VALKEY_UNREACHABLE", WhenUnreachable.OWN_LIMITS, _when_unreachable),
        log_level=read("LOG_LEVEL", "info", one_of(LOG_LEVELS)),
    )


def _optional_port(text: str) -> int | None:
    return PORT(text) if text else None


def _optional_path(text: str) -> Path | None:
    return Path(text) if text else None


def _writable_directory(text: str) -> Path:
    path = directory(text)
    if not os.access(path, os.W_OK):
        raise ValueError("is not writable")
    return path


def _optional_valkey(text: str) -> ValkeyAddress | None:
    """Parse the path of a file with a URL. The URL may contain a password."""
    url = token_file(text)
    if url is None:
        return None
    try:
        return parse_valkey_url(url.decode())
    except ValueError as error:
        raise ValueError(f"the URL in this file {error}") from None


def _prefix(text: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise ValueError("must contain 1 to 128 letters, digits, '.', '_', ':' or '-'")
    return text


def _when_unreachable(text: str) -> WhenUnreachable:
    return WhenUnreachable(one_of(tuple(WhenUnreachable))(text))
