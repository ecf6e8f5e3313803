"""Settings of one gateway process: environment variables named `GATEWAY_*`."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from berth_protocol.environment import (
    LOG_LEVELS,
    PORT,
    EnvironmentReader,
    directory,
    number,
    one_of,
)

_HOST = re.compile(r"([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one gateway process.

    Attributes:
        host: Address that clients connect to.
        port: TCP port on `host`.
        authorize_port: TCP port on `host` for external authorization. None disables it.
        admin_host: Address for health and metrics.
        admin_port: TCP port on `admin_host`.
        config_file: File with the gateway configuration. SIGHUP reloads it.
        watch_seconds: Time between two checks for changed files, in seconds. 0 disables them.
        state_dir: Directory that keeps the quota counters across restarts.
        token_file: File with the token that berths require. None sends no token.
        grace_seconds: Maximum time from SIGTERM to exit, in seconds.
        peers: Names or addresses of the gateways that serve the same clients. They can include
            this gateway.
        peer_port: TCP port for peers, on `host` and on the peers. None if there are no peers.
        log_level: One of LOG_LEVELS. The access log needs `info`.
    """

    host: str
    port: int
    authorize_port: int | None
    admin_host: str
    admin_port: int
    config_file: Path
    watch_seconds: float
    state_dir: Path
    token_file: Path | None
    grace_seconds: float
    peers: tuple[str, ...]
    peer_port: int | None
    log_level: str


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        SettingError: If a variable is missing or invalid.
    """
    read = EnvironmentReader(environment, "GATEWAY_").read
    peers = read("PEERS", "", _hosts)
    return Settings(
        host=read("HOST", "127.0.0.1", str),
        port=read("PORT", None, PORT),
        authorize_port=read("AUTHORIZE_PORT", "", _optional_port),
        admin_host=read("ADMIN_HOST", "127.0.0.1", str),
        admin_port=read("ADMIN_PORT", None, PORT),
        config_file=read("CONFIG", None, Path),
        watch_seconds=read("WATCH_SECONDS", "0", number(0, 3600)),
        state_dir=read("STATE_DIR", None, _writable_directory),
        token_file=read("TOKEN_FILE", "", _optional_path),
        grace_seconds=read("GRACE_SECONDS", "30", number(0.1, 3600)),
        peers=peers,
        peer_port=read("PEER_PORT", None, PORT) if peers else None,
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


def _hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(text.split(",")) if text else ()
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise ValueError("must be host names or addresses, separated by commas without spaces")
    return hosts
