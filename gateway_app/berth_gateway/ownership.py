"""Ownership: which of several gateways judges a client's requests, so that its limits are exact."""

from collections.abc import Iterable
from hashlib import sha256


def owner_of(client: str, gateways: Iterable[str]) -> str | None:
    """The gateway (by address) that judges `client`; None when there are none.

    Rendezvous hashing: all that know the same gateways choose the same one, and one that comes or
    goes moves only its own share of the clients.
    """
    return max(
        gateways, key=lambda address: sha256(f"{address} {client}".encode()).digest(), default=None
    )
