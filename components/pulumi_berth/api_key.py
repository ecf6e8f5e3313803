"""API keys: a client's key to the gateway, generated once and kept as a Pulumi secret."""

import hashlib
from collections.abc import Mapping

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.hosted_models import DEFAULT_KEY, ClientArgs, find_newest_key, resolve_keys
from pulumi_berth.providers import ApiKeyProvider

ClientKeys = Mapping[str, Mapping[str, pulumi.Output[str]]]
"""Client -> name of the key -> the key, a secret."""


def hash_api_key(key: str) -> str:
    """Return the SHA-256 of a key in hex, which is what the gateway stores.

    A fast hash is safe because a key has 256 random bits. A slow hash would delay every request.
    """
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKey(Resource, module="berth", name="ApiKey"):
    """A generated API key for one client.

    The key is kept until the resource is replaced: `pulumi up --replace <urn>` rotates it.

    Attributes:
        key: The key, a secret output that is encrypted in the state.
        sha256: SHA-256 of the key in hex, which is what the gateway stores.
    """

    key: pulumi.Output[str]
    sha256: pulumi.Output[str]

    def __init__(
        self, name: str, *, client: str, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(
            ApiKeyProvider(),
            name,
            {"client": client, "key": None, "sha256": None},
            pulumi.ResourceOptions.merge(
                opts, pulumi.ResourceOptions(additional_secret_outputs=["key"])
            ),
        )


def create_client_keys(
    clients: Mapping[str, ClientArgs],
    *,
    opts: pulumi.ResourceOptions | None = None,
    prefix: str = "",
) -> dict[str, dict[str, pulumi.Output[str]]]:
    """Return each client's keys as secrets: the given keys, and generated ones.

    Args:
        prefix: Prefix of the logical resource names.
    """
    return {
        name: {
            key_name: pulumi.Output.secret(key.key)
            if key.key is not None
            else ApiKey(_name_key(prefix + name, key_name), client=name, opts=opts).key
            for key_name, key in resolve_keys(client).items()
        }
        for name, client in clients.items()
    }


def select_newest_keys(
    clients: Mapping[str, ClientArgs], keys: ClientKeys
) -> dict[str, pulumi.Output[str]]:
    """Return the newest key of each client that has keys."""
    newest = {name: find_newest_key(client) for name, client in clients.items()}
    return {name: keys[name][key] for name, key in newest.items() if key is not None}


def describe_keys(
    clients: Mapping[str, ClientArgs], keys: ClientKeys
) -> dict[str, dict[str, dict[str, pulumi.Output[str] | str | None]]]:
    """Return each client's keys with their expiry, as a stack output that must be a secret."""
    return {
        name: {
            key_name: {"key": keys[name][key_name], "expires": key.expires}
            for key_name, key in resolve_keys(client).items()
        }
        for name, client in clients.items()
    }


def _name_key(client: str, key: str) -> str:
    """Return the logical name of a generated key. Names of clients contain no dot."""
    return client if key == DEFAULT_KEY else f"{client}.{key}"
