"""The gateway's configuration: clients, limits and routes.

Every platform builds a `GatewayConfig` from its specification and passes it to the gateway as JSON.
This module imports no server, so that a platform can import it at little cost.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

_MAX_EXACT_FLOAT = 2**53
"""Largest number up to which a float represents every whole number exactly."""

Period = Literal["hour", "day", "week", "month"]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
_Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^/?#\s@]+$")]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=7 * 86400)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


CONTROLLER_SERVICES = "/traefik"
"""Path on the port for external authorization where an ingress controller finds the services to
which its routes refer; see `berth_gateway.controller_services`."""


CONTROLLER_ERRORS = "/traefik/errors/"
"""Start of the paths on the same port where an ingress controller gets the bodies of its errors.
The status follows; see `berth_gateway.controller_errors`."""
REPLACED_STATUSES = (502, 504)
"""Statuses of an ingress controller whose body is replaced."""
UNREADABLE_BODY_STATUS = 400
"""Status that replaces the ingress controller's own 500 for a body that it cannot read."""
_NOT_ALPHANUMERIC = re.compile("[^A-Za-z0-9]+")


def get_share_name(model: str, version: str) -> str:
    """Return the name of the service for the share of a version."""
    return f"share-{model}-{version}"


def get_direct_name(service: str) -> str:
    """Return the name of the ingress controller's object that sends requests to a Service."""
    return f"{service}-direct"


def normalize_name(name: str) -> str:
    """Return a name as Traefik writes it in the names of its services."""
    return _NOT_ALPHANUMERIC.sub("-", name)


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


class Key(_Strict, frozen=True):
    """An API key of a client.

    Attributes:
        name: Name of the key, unique for its client.
        sha256: SHA-256 (hex) of the key. The key itself is not in the configuration.
        expires: Time from which the key is invalid. Defaults to never.
    """

    name: Name
    sha256: _Sha256
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Client(_Strict, frozen=True):
    """A client, how it identifies itself, and its limits.

    Attributes:
        name: Unique name, used in logs and metrics.
        keys: API keys. A client has several keys during a key rotation.
        rate_per_second: Steady rate limit, in requests per second.
        burst: Capacity of the token bucket, in requests.
        quota: Quota of the client. Defaults to no quota.
        models: Models that the client can call. Defaults to all models.
        subjects: Values of the client claim in JSON Web Tokens of this client.
    """

    name: Name
    keys: list[Key]
    rate_per_second: Annotated[float, msgspec.Meta(gt=0, le=1e9)]
    burst: Annotated[int, msgspec.Meta(ge=1, le=10**9)]
    quota: Quota | None = None
    models: list[Name] | None = None
    subjects: list[_Text] = []

    def may_call(self, model: str) -> bool:
        """Return whether the client can call a model."""
        return self.models is None or model in self.models


class Jwt(_Strict, frozen=True):
    """An issuer of JSON Web Tokens that identify clients.

    Attributes:
        issuer: Required value of the claim `iss`.
        audience: Required value of the claim `aud`.
        client_claim: Claim whose value is one of a client's `subjects`.
        jwks_url: HTTPS URL of the issuer's public keys. None if `jwks` contains them.
        jwks: The issuer's public keys, as a JSON Web Key Set. None if `jwks_url` names them.
    """

    issuer: _Text
    audience: _Text
    client_claim: _Text
    jwks_url: str | None = None
    jwks: dict[str, Any] | None = None


class Blocking(_Strict, frozen=True):
    """When a client or an address is blocked, and for how long.

    Attributes:
        rejections: A client is blocked after this many requests above its limits in the window.
        invalid_keys: An address is blocked after this many requests with invalid keys in the
            window.
        window_seconds: Length of the window, in seconds.
        first_seconds: Duration of the first block, in seconds. Each further block takes twice as
            long.
        max_seconds: Longest duration of a block, in seconds. After this time without a block, the
            next block is a first one again.
    """

    rejections: Annotated[int, msgspec.Meta(ge=1)]
    invalid_keys: Annotated[int, msgspec.Meta(ge=1)]
    window_seconds: _Seconds
    first_seconds: _Seconds
    max_seconds: _Seconds


class Model(_Strict, frozen=True):
    """The versions of one model and their traffic.

    Attributes:
        versions: Deployed version -> base URL of its berth.
        exposed: Versions that clients can call by name.
        traffic: Version -> percentage of the requests that name no version. The sum is 100.
        shadow: Version that receives a duplicate of those requests. Defaults to no version.
        failover: Whether healthy versions receive the share of an unhealthy one.
        shares: Versions with traffic, if an ingress controller splits it. The weights are in its
            routes.
        own_containers: Versions that run in containers of the user's own. The gateway sends them no
            token, because they do not run Berth's code.
    """

    versions: Annotated[dict[Name, _Url], msgspec.Meta(min_length=1)]
    exposed: list[Name]
    traffic: dict[Name, Annotated[int, msgspec.Meta(ge=0, le=100)]]
    shadow: Name | None = None
    failover: bool = True
    shares: list[Name] = []
    own_containers: list[Name] = []


class GatewayConfig(_Strict, frozen=True):
    """Everything that a running gateway can reload.

    Attributes:
        max_body_bytes: Maximum size of a request body, in bytes.
        timeout_seconds: Time limit for a berth's response, in seconds.
        body_memory_bytes: Memory for all request bodies together, in bytes. None leaves it to the
            setting of the process.
        clients: All clients.
        models: Models by name.
        jwt: Issuer of JSON Web Tokens. Defaults to none: clients have API keys.
        blocking: When clients and addresses are blocked. Defaults to never.
    """

    max_body_bytes: Annotated[int, msgspec.Meta(ge=1)]
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)]
    clients: list[Client]
    models: dict[Name, Model]
    jwt: Jwt | None = None
    blocking: Blocking | None = None
    body_memory_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None


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
    _check_clients(config)
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


def _check_clients(config: GatewayConfig) -> None:
    names: set[str] = set()
    clients_by_key: dict[str, str] = {}
    clients_by_subject: dict[str, str] = {}
    for client in config.clients:
        if client.name in names:
            raise ConfigError(
                f"clients: '{client.name}' is defined twice. Give each client a unique name."
            )
        names.add(client.name)
        if not client.keys and not client.subjects:
            raise ConfigError(
                f"clients: '{client.name}' has neither keys nor subjects. Add one of them."
            )
        for key in client.keys:
            other = clients_by_key.setdefault(key.sha256, client.name)
            if other != client.name or [k.sha256 for k in client.keys].count(key.sha256) > 1:
                raise ConfigError(
                    f"clients: '{other}' and '{client.name}' have the same API key. List each key "
                    "once, for one client."
                )
        for subject in client.subjects:
            if config.jwt is None:
                raise ConfigError(
                    f"clients: '{client.name}' has subjects, but jwt is missing. Add the issuer."
                )
            other = clients_by_subject.setdefault(subject, client.name)
            if other != client.name:
                raise ConfigError(
                    f"clients: '{other}' and '{client.name}' have the same subject. List each "
                    "subject once, for one client."
                )
    if config.jwt is not None and (config.jwt.jwks_url is None) == (config.jwt.jwks is None):
        raise ConfigError("jwt: set one of jwks_url and jwks.")


def _check_model(field: str, model: Model) -> None:
    for version, url in model.versions.items():
        _check_url(f"{field}.versions.{version}", url)
    references = {
        "exposed": model.exposed,
        "traffic": [*model.traffic],
        "shares": model.shares,
    }
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
