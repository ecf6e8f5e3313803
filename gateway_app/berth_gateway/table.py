"""The table: who may call, how much, and which berth answers. Pure data, checked on reading."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

_WHOLE = 2**53
"""Above this a JSON number written as a float no longer stands for one whole number."""

Period = Literal["hour", "day", "week", "month"]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
_Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^/?#\s@]+$")]


class TableError(Exception):
    """The table cannot be used; the text says what is wrong, where, and what would be right."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Quota(_Strict, frozen=True):
    """`requests` inference requests in each calendar `period` (UTC)."""

    requests: Annotated[int, msgspec.Meta(ge=1)]
    period: Period


class Client(_Strict, frozen=True):
    """One caller.

    Attributes:
        name: unique in the table; what logs and metrics call this client.
        key_sha256: sha256 (hex) of each of its keys; more than one while a key is exchanged.
        rate_per_second: steady rate, in requests.
        burst: requests that may come at once after a pause.
        quota: None for as many as the rate allows.
    """

    name: Name
    key_sha256: Annotated[list[_Sha256], msgspec.Meta(min_length=1)]
    rate_per_second: Annotated[float, msgspec.Meta(gt=0, le=1e9)]
    burst: Annotated[int, msgspec.Meta(ge=1, le=10**9)]
    quota: Quota | None = None


class Model(_Strict, frozen=True):
    """Where one model's requests go.

    Attributes:
        versions: version -> base URL of its berth, for all that are deployed.
        exposed: versions that clients may ask for by name.
        traffic: version -> percent of the requests that name no version; the sum is 100.
        shadow: the version that gets copies of those requests.
    """

    versions: Annotated[dict[Name, _Url], msgspec.Meta(min_length=1)]
    exposed: list[Name]
    traffic: dict[Name, Annotated[int, msgspec.Meta(ge=0, le=100)]]
    shadow: Name | None = None


class Table(_Strict, frozen=True):
    """All that a running gateway can be told anew.

    Attributes:
        max_body_bytes: a longer request body is refused.
        timeout_seconds: a berth that takes longer has failed.
        clients: who may call.
        models: by name.
    """

    max_body_bytes: Annotated[int, msgspec.Meta(ge=1)]
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)]
    clients: list[Client]
    models: dict[Name, Model]


def parse_table(text: bytes) -> Table:
    """The table in `text` (JSON). A whole number may be written as a float, as in 50.0.

    Raises:
        TableError: not JSON, a field missing, unknown or out of range, or fields that
            contradict one another.
    """
    try:
        table = msgspec.convert(_integral(msgspec.json.decode(text)), Table)
    except msgspec.ValidationError as error:
        raise TableError(str(error)) from error
    except msgspec.DecodeError as error:
        raise TableError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise TableError("nested too deeply") from error
    _check_clients(table.clients)
    for name, model in table.models.items():
        _check_model(f"models.{name}", model)
    return table


def _integral(value: Any) -> Any:
    """`value` with each float that stands for a whole number as that number."""
    if isinstance(value, dict):
        return {key: _integral(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_integral(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _WHOLE:
        return int(value)
    return value


def _check_clients(clients: list[Client]) -> None:
    names: set[str] = set()
    owner: dict[str, str] = {}
    for client in clients:
        if client.name in names:
            raise TableError(f"clients: {client.name} is there twice; each name must be unique")
        names.add(client.name)
        for digest in client.key_sha256:
            if digest in owner:
                raise TableError(
                    f"clients: {owner[digest]} and {client.name} have the same key; "
                    "each key must belong to one client, once"
                )
            owner[digest] = client.name


def _check_model(where: str, model: Model) -> None:
    for version, url in model.versions.items():
        _check_url(f"{where}.versions.{version}", url)
    asked_for = {"exposed": model.exposed, "traffic": [*model.traffic]}
    asked_for["shadow"] = [model.shadow] if model.shadow is not None else []
    for field, versions in asked_for.items():
        for version in versions:
            if version not in model.versions:
                raise TableError(
                    f"{where}.{field}: {version} is not deployed; versions has "
                    f"{', '.join(model.versions)}"
                )
    if sum(model.traffic.values()) != 100:
        raise TableError(
            f"{where}.traffic: the sum is {sum(model.traffic.values())}, it must be 100"
        )
    for version, percent in model.traffic.items():
        if percent and version not in model.exposed:
            raise TableError(
                f"{where}.traffic: {version} gets {percent} % but is not in exposed; "
                "expose it, or give it 0"
            )


def _check_url(where: str, url: str) -> None:
    parts = urlsplit(url)
    try:
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        port_is_right = False
    if not port_is_right or not re.fullmatch(r"[A-Za-z0-9._:-]+", parts.hostname or ""):
        raise TableError(f"{where}: {url} must look like http://host:port, with nothing behind it")
