"""The clients' API keys, which every platform creates in the same way."""

import pulumi

from berth.spec import ClientSpec
from pulumi_berth.api_key import ApiKey


def client_keys(clients: dict[str, ClientSpec]) -> dict[str, pulumi.Output[str]]:
    """Return each client's key as a secret: the configured key, or a generated one."""
    return {name: _client_key(name, client) for name, client in clients.items()}


def _client_key(name: str, client: ClientSpec) -> pulumi.Output[str]:
    if client.key is not None:
        return pulumi.Output.secret(client.key)
    return ApiKey(name, client=name).key
