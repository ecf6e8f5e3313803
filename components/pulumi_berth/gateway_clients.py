"""How clients identify themselves to the gateway, and when it blocks them: arguments."""

from dataclasses import dataclass

import pulumi


@dataclass(frozen=True, kw_only=True)
class ClientKeyArgs:
    """An API key of a client."""

    key: pulumi.Input[str] | None = None
    """The key: 20 to 128 printable ASCII characters, a secret. By default, one is generated."""
    expires: str | None = None
    """Time from which the gateway rejects the key, such as `2027-03-31T18:00:00Z`. A date means
    00:00 UTC. Defaults to never."""


@dataclass(frozen=True, kw_only=True)
class JwtArgs:
    """An issuer of JSON Web Tokens, with which clients can identify themselves instead of keys.

    Set one of `jwks_url` and `jwks`.
    """

    issuer: str
    """Required value of the claim `iss`."""
    audience: str
    """Required value of the claim `aud`."""
    client_claim: str | None = None
    """Claim whose value is one of a client's `subjects`. Defaults to `sub`."""
    jwks_url: str | None = None
    """HTTPS URL of the issuer's JSON Web Key Set, which the gateway reads."""
    jwks: str | None = None
    """The issuer's JSON Web Key Set, as JSON. It contains only public keys."""


@dataclass(frozen=True, kw_only=True)
class BlockingArgs:
    """When the gateway blocks a client that keeps exceeding its limits, and an address that keeps
    guessing keys. Gateways that share limits share blocks."""

    enabled: bool | None = None
    """If false, the gateway blocks nobody. Defaults to true."""
    rejections: int | None = None
    """Requests above its limits within the window after which a client is blocked. Defaults to
    1000."""
    invalid_keys: int | None = None
    """Requests with invalid keys within the window after which their address is blocked. Defaults
    to 20."""
    window_seconds: float | None = None
    """Length of the window, in seconds. Defaults to 60."""
    first_seconds: float | None = None
    """Duration of the first block, in seconds. Each further block takes twice as long. Defaults to
    10."""
    max_seconds: float | None = None
    """Longest duration of a block, in seconds. After this time without a block, the next block is a
    first one again. Defaults to 3600."""
