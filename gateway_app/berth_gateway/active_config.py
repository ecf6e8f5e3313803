"""The active configuration: loaded from files, and replaced as a whole by a reload."""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from berth_gateway.config import Client, ConfigError, GatewayConfig, Key, parse_config
from berth_gateway.traffic import TrafficSplit
from berth_protocol.environment import token_file as parse_token_file

if TYPE_CHECKING:
    from berth_gateway.json_web_tokens import TokenVerifier

_LOG = logging.getLogger("gateway")


@dataclass(frozen=True)
class ActiveConfig:
    """A configuration with the lookups that requests need.

    A request uses the same active configuration until it ends, also if a reload replaces it.

    Attributes:
        config: Clients, limits and routes.
        config_sha256: SHA-256 (hex) of the file. A platform compares it with the file it wrote.
        clients: Clients by name.
        clients_by_key: SHA-256 (hex) of an API key -> its client, and the key.
        splits: Model -> its traffic split.
        token: Value of the `x-berth-token` header for berths. None sends no token.
        tokens: Verifies clients' JSON Web Tokens. None if there is no issuer.
    """

    config: GatewayConfig
    config_sha256: str
    clients: dict[str, Client]
    clients_by_key: dict[str, tuple[Client, Key]]
    splits: dict[str, TrafficSplit]
    token: str | None
    tokens: "TokenVerifier | None"

    def find_key(self, key: bytes) -> tuple[Client, Key] | None:
        """Return the client that an API key belongs to, or None if the key is unknown.

        The key may have expired.

        The duration of the lookup reveals nothing about other keys: a caller cannot choose the
        digest of its key byte by byte.
        """
        return self.clients_by_key.get(hashlib.sha256(key).hexdigest())


def load_active_config(
    config_file: Path, token_file: Path | None, previous: ActiveConfig | None
) -> ActiveConfig:
    """Read the files.

    Args:
        previous: Configuration that is replaced. A model with unchanged weights continues its
            traffic split.

    Raises:
        ConfigError: If a file cannot be read or is invalid.
    """
    try:
        text = config_file.read_bytes()
        config = parse_config(text)
        tokens = _create_verifier(config, previous)
    except OSError as error:
        raise ConfigError(
            f"{config_file}: Cannot read the gateway configuration: {error.strerror}."
        ) from error
    except ConfigError as error:
        raise ConfigError(f"{config_file}: {error}") from error
    splits = {name: TrafficSplit(model.traffic) for name, model in config.models.items()}
    if previous is not None:
        for name, split in splits.items():
            current = previous.splits.get(name)
            if current is not None and current.weights == split.weights:
                splits[name] = current
    return ActiveConfig(
        config=config,
        config_sha256=hashlib.sha256(text).hexdigest(),
        clients={client.name: client for client in config.clients},
        clients_by_key={
            key.sha256: (client, key) for client in config.clients for key in client.keys
        },
        splits=splits,
        token=_read_token(token_file) if token_file is not None else None,
        tokens=tokens,
    )


def _create_verifier(
    config: GatewayConfig, previous: ActiveConfig | None
) -> "TokenVerifier | None":
    if config.jwt is None:
        return None
    # Most gateways have no issuer and need no cryptography library.
    from berth_gateway.json_web_tokens import create_verifier

    return create_verifier(config, previous.tokens if previous is not None else None)


def _read_token(path: Path) -> str:
    try:
        token = parse_token_file(str(path))
    except ValueError as error:
        raise ConfigError(f"{path}: The token file {error}.") from error
    assert token is not None
    return token.decode()


class ConfigStore:
    """The active configuration and its files.

    The content of the files is compared, not their time or size: Kubernetes replaces the directory
    of a mounted Secret, and a file can be written twice within one tick of its clock.

    Attributes:
        active: Configuration for new requests.
        on_reload: Called after each reload, with True if the configuration was replaced.
    """

    def __init__(self, config_file: Path, token_file: Path | None) -> None:
        """Load the files.

        Raises:
            ConfigError: If a file cannot be read or is invalid.
        """
        self._config_file = config_file
        self._token_file = token_file
        self.on_reload: Callable[[bool], None] = lambda _is_replaced: None
        self._loaded_digest = b""
        self.active = self._load(None)

    def reload(self) -> None:
        """Activate what the files contain. If they are invalid, keep the current configuration."""
        try:
            self.active = self._load(self.active)
        except ConfigError as error:
            _LOG.error("Reload failed; keeping the current configuration: %s", error)
            self.on_reload(False)
        else:
            _LOG.info("Configuration %s is active", self.active.config_sha256)
            self.on_reload(True)

    async def watch(self, interval_seconds: float, stop: asyncio.Event) -> None:
        """Reload when the files change, until `stop` is set.

        Args:
            interval_seconds: Time between two checks. 0 disables them.
        """
        while interval_seconds and not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), interval_seconds)
            if not stop.is_set() and self._digest() != self._loaded_digest:
                self.reload()

    def _load(self, previous: ActiveConfig | None) -> ActiveConfig:
        # Computed before the files are read: a write in between differs at the next check.
        self._loaded_digest = self._digest()
        return load_active_config(self._config_file, self._token_file, previous)

    def _digest(self) -> bytes:
        digest = hashlib.sha256()
        for path in (self._config_file, self._token_file):
            if path is not None:
                try:
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
                except OSError as error:
                    digest.update(type(error).__name__.encode())
        return digest.digest()
