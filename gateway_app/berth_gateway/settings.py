"""How one gateway process is set up: environment variables named `GATEWAY_*`."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_HOST = re.compile(r"([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+")
LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(Exception):
    """A setting is missing or wrong; the text names it and says what would be right."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One gateway process.

    Attributes:
        host: address that clients reach.
        port: TCP port on `host`.
        authorize_port: TCP port on `host` where a controller asks whether an inference request
            may pass; None when none does.
        admin_host: address of health and metrics.
        admin_port: TCP port on `admin_host`.
        table: file with clients, limits and routes; read again on SIGHUP.
        watch_seconds: how often to look whether table or token are other ones; 0 for never.
        state_dir: folder where quota counters outlive the process.
        token_file: file whose content the berths want as `x-berth-token`; None sends none.
        grace_seconds: from SIGTERM to exit, at most.
        peers: names, or addresses, of the other gateways that serve the same clients; this one
            may be among them.
        peer_port: TCP port on `host` where peers tell what they let through, and on theirs; None
            when there are no peers.
        log_level: one of LOG_LEVELS; the access log is written at `info`.
    """

    host: str
    port: int
    authorize_port: int | None
    admin_host: str
    admin_port: int
    table: Path
    watch_seconds: float
    state_dir: Path
    token_file: Path | None
    grace_seconds: float
    peers: tuple[str, ...]
    peer_port: int | None
    log_level: str


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings in `environment`.

    Raises:
        SettingsError: a variable is missing or has a value out of its range.
    """
    table = Path(_required(environment, "GATEWAY_TABLE"))
    state_dir = Path(_required(environment, "GATEWAY_STATE_DIR"))
    if not state_dir.is_dir() or not os.access(state_dir, os.W_OK):
        raise SettingsError(f"GATEWAY_STATE_DIR={state_dir}: must be a folder one can write to")
    token_file = environment.get("GATEWAY_TOKEN_FILE")
    log_level = environment.get("GATEWAY_LOG_LEVEL", "info")
    if log_level not in LOG_LEVELS:
        raise SettingsError(
            f"GATEWAY_LOG_LEVEL={log_level}: must be one of {', '.join(LOG_LEVELS)}"
        )
    peers = _names(environment, "GATEWAY_PEERS")
    return Settings(
        host=environment.get("GATEWAY_HOST", "127.0.0.1"),
        port=_port(environment, "GATEWAY_PORT"),
        authorize_port=(
            _port(environment, "GATEWAY_AUTHORIZE_PORT")
            if environment.get("GATEWAY_AUTHORIZE_PORT")
            else None
        ),
        admin_host=environment.get("GATEWAY_ADMIN_HOST", "127.0.0.1"),
        admin_port=_port(environment, "GATEWAY_ADMIN_PORT"),
        table=table,
        watch_seconds=_seconds(environment, "GATEWAY_WATCH_SECONDS", "0", or_zero=True),
        state_dir=state_dir,
        token_file=Path(token_file) if token_file else None,
        grace_seconds=_seconds(environment, "GATEWAY_GRACE_SECONDS", "30"),
        peers=peers,
        peer_port=_port(environment, "GATEWAY_PEER_PORT") if peers else None,
        log_level=log_level,
    )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsError(f"{name}: must be set")
    return value


def _names(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    value = environment.get(name, "")
    names = tuple(value.split(",")) if value else ()
    for each in names:
        if not _HOST.fullmatch(each):
            raise SettingsError(f"{name}={value}: must be names or addresses, with commas between")
    return names


def _port(environment: Mapping[str, str], name: str) -> int:
    value = _required(environment, name)
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 65535):
        raise SettingsError(f"{name}={value}: must be a TCP port, 1 to 65535")
    return int(value)


def _seconds(
    environment: Mapping[str, str], name: str, default: str, *, or_zero: bool = False
) -> float:
    value = environment.get(name, default)
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not (0 < seconds <= 3600 or (or_zero and seconds == 0)):
        zero = ", or 0" if or_zero else ""
        raise SettingsError(
            f"{name}={value}: must be a number of seconds above 0, up to 3600{zero}"
        )
    return seconds
