"""API keys: which client a key belongs to. Only digests of keys are ever kept."""

from collections.abc import Iterable, Mapping
from hashlib import sha256

from berth_gateway.table import Client


def clients_by_digest(clients: Iterable[Client]) -> dict[str, Client]:
    """The owner of each key, by the key's sha256 (hex)."""
    return {digest: client for client in clients for digest in client.key_sha256}


def client_of(key: bytes, owners: Mapping[str, Client]) -> Client | None:
    """The client that `key` belongs to; None when no client has it.

    Looking the digest up leaks nothing by its timing: a caller cannot choose a digest
    byte by byte.
    """
    return owners.get(sha256(key).hexdigest())
