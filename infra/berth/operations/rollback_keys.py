"""What a rollback leaves as it is: who may call the models, and with which keys.

A key that was replaced or removed may be in the wrong hands, so an earlier configuration must not
make it valid again. A key that was added since then is in use, and a generated one would be lost.
"""

from collections.abc import Mapping
from typing import Any

from berth.operations.update import Update

_GATEWAY = "berth:gateway"
_MODELS = "berth:models"
# Fields of a client that decide who it is and what it may call. All other fields are limits.
_KEYS = ("key", "keys")
_CREDENTIALS = (*_KEYS, "jwt_subjects", "models")
_DEFAULT_CLIENTS: Mapping[str, Any] = {"default": {}}


def keep_credentials(current: Mapping[str, Any], update: Update) -> dict[str, Any]:
    """Return the configuration of `update` with the clients, keys and permissions of `current`.

    The limits of the clients that both have are those of the update.

    Args:
        current: The stack's configuration with secrets in plaintext.
    """
    target = dict(update.config)
    if _GATEWAY not in current and _GATEWAY not in target:
        return target
    gateway = dict(target.get(_GATEWAY) or {})
    clients, targets = _get_clients(current), _get_clients(target)
    models = target.get(_MODELS)
    gateway["clients"] = {
        name: _merge_client(client, targets.get(name), models if isinstance(models, dict) else None)
        for name, client in clients.items()
    }
    # Both of them rely on the default: do not write what the file does not have.
    if not (_has_clients(current) or _has_clients(target)):
        del gateway["clients"]
    jwt = (current.get(_GATEWAY) or {}).get("jwt")
    gateway.pop("jwt", None)
    if jwt is not None:
        gateway["jwt"] = jwt
    if gateway:
        target[_GATEWAY] = gateway
    else:
        target.pop(_GATEWAY, None)
    return target


def describe_kept_keys(current: Mapping[str, Any], update: Update) -> list[str]:
    """Return a line for each client whose keys stay although the update had others."""
    clients, targets = _get_clients(current), _get_clients(update.config)
    lines = [f"Keys are not rolled back. Clients with their current keys: {', '.join(clients)}."]
    for name, client in clients.items():
        target = targets.get(name)
        if target is None:
            lines.append(
                f"Client '{name}' stays. It was added after update {update.number}, and its key "
                "would be lost."
            )
            continue
        changed = [
            key
            for key in _name_keys(target)
            if key not in _name_keys(client) or _name_keys(client)[key] != _name_keys(target)[key]
        ]
        lines += [
            f"Key '{key}' of client '{name}' was replaced or removed after update {update.number} "
            "and stays invalid."
            for key in changed
        ]
        if any(client.get(field) != target.get(field) for field in ("models", "jwt_subjects")):
            lines.append(f"Client '{name}' keeps its current models and token subjects.")
    lines += [
        f"Client '{name}' stays removed. It was removed after update {update.number}."
        for name in targets
        if name not in clients
    ]
    if _get_jwt(current) != _get_jwt(update.config):
        lines.append("The token issuer in gateway.jwt stays as it is.")
    return lines


def _merge_client(
    current: Mapping[str, Any], target: Mapping[str, Any] | None, models: Mapping[str, Any] | None
) -> dict[str, Any]:
    limits = current if target is None else target
    merged = {field: value for field, value in limits.items() if field not in _CREDENTIALS}
    merged |= {field: value for field, value in current.items() if field in _CREDENTIALS}
    if models is not None and merged.get("models") is not None:
        # The rollback can remove models, and a client cannot have a model that does not exist.
        merged["models"] = [model for model in merged["models"] if model in models]
    return merged


def _has_clients(config: Mapping[str, Any]) -> bool:
    return (config.get(_GATEWAY) or {}).get("clients") is not None


def _get_clients(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    clients = (config.get(_GATEWAY) or {}).get("clients")
    entries = _DEFAULT_CLIENTS if clients is None else clients
    return {str(name): client or {} for name, client in entries.items()}


def _get_jwt(config: Mapping[str, Any]) -> Any:
    return (config.get(_GATEWAY) or {}).get("jwt")


def _name_keys(client: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each key of a client by name. None if Berth generates it."""
    keys = client.get("keys")
    if keys is None:
        return {"default": client.get("key")}
    return {str(name): (key or {}).get("key") for name, key in keys.items()}
