"""The gateway's configuration: clients, limits and routes.

Every platform builds a `GatewayConfig` from its specification and passes it to the gateway as JSON.
This module imports no server, so that a platform can import it at little cost.
"""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

_MAX_EXACT_FLOAT = 2**53
"""Largest number up to which a float represents every whole number exactly."""

Period = Literal["hour", "day", "week", "month"]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
_Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^/?#\s@]+$")]


class ConfigError(Exception):
    """An invalid configuration. The message states the field, the problem and the fix."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Quota(_Strict, frozen=True):
    """A maximum number of inference requests in each calendar period (UTC).

    Attributes:
        requests: Inference requests per period.
        period: Calendar period.
    """

    requests: Annotated[int, msgspec.Meta(ge=1)]
    period: Period


class Client(_Strict, frozen=True):
    """A client and its limits.

    Attributes:
        name: Unique name, used in logs and metrics.
        key_sha256: SHA-256 (hex) of each API key. A client has several keys during a key rotation.
        rate_per_second: Steady rate limit, in requests per second.
        burst: Capacity of the token bucket, in requests.
        quota: Quota of the client. Defaults to no quota.
    """

    name: Name
    key_sha256: Annotated[list[_Sha256], msgspec.Meta(min_length=1)]
    rate_per_second: Annotated[float, msgspec.Meta(gt=0, le=1e9)]
    burst: Annotated[int, msgspec.Meta(ge=1, le=10**9)]
    quota: Quota | None = None


class Model(_Strict, frozen=True):
    """The versions of one model and their traffic.

    Attributes:
        versions: Deployed version -> base URL of its berth.
        exposed: Versions that clients can call by name.
        traffic: Version -> percentage of the requests that name no version. The sum is 100.
        shadow: Version that receives a duplicate of those requests. Defaults to no version.
    """

    versions: Annotated[dict[Name, _Url], msgspec.Meta(min_length=1)]
    exposed: list[Name]
    traffic: dict[Name, Annotated[int, msgspec.Meta(ge=0, le=100)]]
    shadow: Name | None = None


class GatewayConfig(_Strict, frozen=True):
    """Everything that a running gateway can reload.

    Attributes:
        max_body_bytes: Maximum size of a request body, in bytes.
        timeout_seconds: Time limit for a berth's response, in seconds.
        clients: All clients.
        models: Models by name.
    """

    max_body_bytes: Annotated[int, msgspec.Meta(ge=1)]
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)]
    clients: list[Client]
    models: dict[Name, Model]


def encode_config(config: GatewayConfig) -> bytes:
    """Return the JSON of a configuration. Equal configurations have equal JSON."""
    return msgspec.json.format(msgspec.json.encode(config, order="sorted"), indent=2)


def parse_config(text: bytes) -> GatewayConfig:
    """Parse and check a configuration in JSON.

    Raises:
        ConfigError: If the text is not JSON, or see `convert_config`.
    """
    try:
        content = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigError(f"Not valid JSON: {error}") from error
    except RecursionError as error:
        raise ConfigError("The JSON is nested too deeply.") from error
    return convert_config(content)


def convert_config(content: object) -> GatewayConfig:
    """Convert decoded JSON to a configuration, and check it.

    A whole number can be a float, such as 50.0: Pulumi's engine stores every number as a float.

    Raises:
        ConfigError: If a field is missing, unknown or out of range, or if fields contradict
            each other.
    """
    try:
        config = msgspec.convert(_restore_integers(content), GatewayConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from error
    except RecursionError as error:
        raise ConfigError("The JSON is nested too deeply.") from error
    _check_clients(config.clients)
    for name, model in config.models.items():
        _check_model(f"models.{name}", model)
    return config


def _restore_integers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _restore_integers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restore_integers(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_EXACT_FLOAT:
        return int(value)
    return value


def _check_clients(clients: list[Client]) -> None:
    names: set[str] = set()
    clients_by_key: dict[str, str] = {}
    for client in clients:
        if client.name in names:
            raise ConfigError(
                f"clients: '{client.name}' is defined twice. Give each client a unique name."
            )
        names.add(client.name)
        for digest in client.key_sha256:
            if digest in clients_by_key:
                raise ConfigError(
                    f"clients: '{clients_by_key[digest]}' and '{client.name}' have the same API "
                    "key. List each key once, for one client."
                )
            clients_by_key[digest] = client.name


def _check_model(field: str, model: Model) -> None:
    for version, url in model.versions.items():
        _check_url(f"{field}.versions.{version}", url)
    references = {"exposed": model.exposed, "traffic": [*model.traffic]}
    references["shadow"] = [model.shadow] if model.shadow is not None else []
    for name, versions in references.items():
        for version in versions:
            if version not in model.versions:
                raise ConfigError(
                    f"{field}.{name}: version {version} is not deployed. "
                    f"Deployed versions: {', '.join(model.versions)}."
                )
    total = sum(model.traffic.values())
    if total != 100:
        raise ConfigError(f"{field}.traffic: percentages must add up to 100, got {total}.")
    for version, percent in model.traffic.items():
        if percent and version not in model.exposed:
            raise ConfigError(
                f"{field}.traffic: version {version} gets {percent} % but is not exposed. "
                "Expose the version, or set its percentage to 0."
            )


def _check_url(field: str, url: str) -> None:
    parts = urlsplit(url)
    try:
        is_port_valid = parts.port is None or parts.port > 0
    except ValueError:
        is_port_valid = False
    if not is_port_valid or not re.fullmatch(r"[A-Za-z0-9._:-]+", parts.hostname or ""):
        raise ConfigError(f"{field}: '{url}' is not a base URL. Use the form http://host:port.")
