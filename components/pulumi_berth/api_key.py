"""ApiKey: a client's key to the gateway, made once and kept as a Pulumi secret."""

import hashlib
import secrets
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

_KEY_BYTES = 32


def key_sha256(key: str) -> str:
    """What is stored of a key: its sha256 in hex. A key is 256 random bits, so a fast hash
    gives nothing away; a slow one would cost every request."""
    return hashlib.sha256(key.encode()).hexdigest()


class _ApiKeyProvider(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        key = f"berth_{secrets.token_urlsafe(_KEY_BYTES)}"
        return CreateResult(key_sha256(key), {**props, "key": key, "sha256": key_sha256(key)})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        renamed = olds["client"] != news["client"]
        return DiffResult(changes=renamed, replaces=["client"] if renamed else [])


class ApiKey(Resource, module="local", name="ApiKey"):
    """A generated key for the client `client`.

    `key` is a secret output, encrypted in the state; `sha256` is what the gateway stores.
    The key stays until the resource is replaced: `pulumi up --replace <urn>` rotates it.
    """

    key: pulumi.Output[str]
    sha256: pulumi.Output[str]

    def __init__(
        self, name: str, *, client: str, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(
            _ApiKeyProvider(),
            name,
            {"client": client, "key": None, "sha256": None},
            pulumi.ResourceOptions.merge(
                opts, pulumi.ResourceOptions(additional_secret_outputs=["key"])
            ),
        )
