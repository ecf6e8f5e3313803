"""API keys: a client's key to the gateway, generated once and kept as a Pulumi secret."""

import hashlib
from collections.abc import Mapping

import pulumi
from pulumi.dynamic import Resource

from pulumi_berth.hosted_models import ClientArgs
from pulumi_berth.providers import ApiKeyProvider


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
) -> dict[str, pulumi.Output[str]]:
    """Return each client's key as a secret: the given key, or a generated one.

    Args:
        prefix: Prefix of the logical resource names.
    """
    return {
        name: pulumi.Output.secret(client.key)
        if client.key is not None
        else ApiKey(f"{prefix}{name}", client=name, opts=opts).key
        for name, client in clients.items()
    }
