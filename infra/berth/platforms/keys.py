"""The clients' keys: configured or made, the same on every platform."""

import pulumi

from berth.spec import ClientSpec
from pulumi_berth.api_key import ApiKey


def client_keys(clients: dict[str, ClientSpec]) -> dict[str, pulumi.Output[str]]:
    """Each client's key as a secret: the one in the configuration, else one made for it."""
    return {name: _key(name, client) for name, client in clients.items()}


def _key(name: str, client: ClientSpec) -> pulumi.Output[str]:
    if client.key is not None:
        return pulumi.Output.secret(client.key)
    return ApiKey(name, client=name).key
