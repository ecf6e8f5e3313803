"""Which dynamic providers Berth loads.

The state contains the pickled provider of each dynamic resource, and unpickling runs whatever a
pickle names. Berth's providers have no attributes, so each has exactly one pickle, with which a
provider is compared before it is unpickled.
"""

import base64
import binascii
from collections.abc import Iterator

MODULE = "pulumi_berth.providers"
PROVIDERS = (
    "AcceptedRouteProvider",
    "ApiKeyProvider",
    "ApiLogRoleProvider",
    "BerthProvider",
    "BuiltImageProvider",
    "ClusterLeftoversProvider",
    "EngineImageProvider",
    "GatewayProvider",
    "GatewayTurnProvider",
    "NamespaceClaimProvider",
    "NamespaceGuardProvider",
    "ReadyContainerProvider",
    "ReplicationBackfillProvider",
    "ServedCertificateProvider",
    "SupervisorProvider",
    "VolumeFilesProvider",
)
"""The provider classes of `MODULE`."""
PROPERTY = "__provider"
"""Property of a dynamic resource with its pickled provider, in Base64."""

# pickle.DEFAULT_PROTOCOL of Python 3.8 to 3.13, and of later versions.
_PROTOCOLS = (4, 5)
_MAX_CHARACTERS = 10_000


class ProviderPathError(ValueError):
    """A dynamic provider that is not one of Berth's."""


def _encode_pickles(name: str) -> Iterator[bytes]:
    """Return the pickles of an instance of a class without attributes, for each protocol.

    The opcodes push the names of module and class, look the class up, and call it without
    arguments: https://github.com/python/cpython/blob/3.11/Lib/pickle.py
    """
    body = b"".join(
        [
            b"\x8c" + bytes([len(MODULE)]) + MODULE.encode() + b"\x94",
            b"\x8c" + bytes([len(name)]) + name.encode() + b"\x94",
            b"\x93\x94)\x81\x94.",
        ]
    )
    for protocol in _PROTOCOLS:
        yield b"\x80" + bytes([protocol]) + b"\x95" + len(body).to_bytes(8, "little") + body


_PICKLES = frozenset(pickled for name in PROVIDERS for pickled in _encode_pickles(name))


def check_pickle(data: bytes) -> bytes:
    """Return a pickled provider, if it is one of Berth's.

    Raises:
        ProviderPathError: If it is not.
    """
    if data not in _PICKLES:
        raise ProviderPathError(
            f"A resource names a dynamic provider outside {MODULE}, which could run any code. It "
            "was not loaded. Find out who changed the state, and restore an earlier version of it."
        )
    return data


def is_known_provider(value: object) -> bool:
    """Return whether the value of `PROPERTY` is one of Berth's providers."""
    if not isinstance(value, str) or len(value) > _MAX_CHARACTERS:
        return False
    try:
        return base64.b64decode(value, validate=True) in _PICKLES
    except (binascii.Error, ValueError):
        return False
