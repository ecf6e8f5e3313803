"""JSON Web Tokens of one issuer: signature, claims, and the client that a token belongs to."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
import msgspec
from jwt import PyJWK

from berth_gateway.config import ConfigError, GatewayConfig, Jwt
from berth_protocol.errors import overload_error

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""Accepted signature algorithms. All are asymmetric: a public key can verify tokens, not sign."""
MAX_TOKEN_BYTES = 16 << 10
MAX_KEY_SET_BYTES = 256 << 10
MAX_KEYS = 100
REFRESH_SECONDS = 300.0
"""Age at which the issuer's keys are read again."""
RETRY_SECONDS = 30.0
"""Least time between two reads: a token can name a key that does not exist."""
STALE_SECONDS = 86_400.0
"""Age above which keys are no longer used, so that a key that the issuer withdrew loses effect."""
_READ_SECONDS = 5.0
_LEEWAY_SECONDS = 30.0
_MIN_RSA_BITS = 2048
_RSA_ALGORITHMS = tuple(name for name in ALGORITHMS if name[:2] in ("RS", "PS"))
_CURVE_ALGORITHMS = {
    "P-256": "ES256",
    "P-384": "ES384",
    "P-521": "ES512",
    "Ed25519": "EdDSA",
}
_LOG = logging.getLogger("gateway")

ReadKeySet = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True)
class VerificationKey:
    """A public key of the issuer.

    Attributes:
        key: Key of the library `cryptography`.
        algorithms: Algorithms of its signatures. A token cannot choose another one.
    """

    key: Any
    algorithms: tuple[str, ...]


class InvalidTokenError(Exception):
    """A token that identifies no client.

    Attributes:
        is_expired: Whether the token is authentic and only too old.
    """

    def __init__(self, message: str, *, is_expired: bool = False) -> None:
        super().__init__(message)
        self.is_expired = is_expired


class TokenVerifier:
    """Verifies tokens of one issuer with its public keys.

    The keys are read when the first token arrives, every REFRESH_SECONDS, and when a token names an
    unknown key or has another signature, at most once in RETRY_SECONDS. While the issuer does not
    respond, the previous keys stay valid.

    Args:
        subjects: Value of the client claim -> client.
        read_key_set: Returns the issuer's key set. None if the configuration contains it.
        clock: Returns monotonic time in seconds.

    Raises:
        ConfigError: If the configuration contains an invalid key set.
    """

    def __init__(
        self,
        issuer: Jwt,
        subjects: Mapping[str, str],
        read_key_set: ReadKeySet | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self.subjects = dict(subjects)
        self._clock = clock
        self._read_key_set = read_key_set
        self._keys: dict[str | None, VerificationKey] = {}
        self._read_at = self._tried_at = float("-inf")
        self._lock = asyncio.Lock()
        if issuer.jwks is not None:
            try:
                self._keys = parse_key_set(msgspec.json.encode(issuer.jwks))
            except ValueError as error:
                raise ConfigError(f"jwt.jwks: {error}") from error
        elif read_key_set is None and issuer.jwks_url is not None:
            url = issuer.jwks_url
            self._read_key_set = lambda: _download(url)

    async def find_client(self, token: bytes) -> str:
        """Return the client that a token belongs to.

        Raises:
            InvalidTokenError: If the token is invalid.
            RequestError: 503 if the issuer's keys are not available.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise InvalidTokenError(f"The token is longer than {MAX_TOKEN_BYTES} bytes.")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise InvalidTokenError("Invalid token. Send a signed JSON Web Token.") from None
        if header.get("alg") not in ALGORITHMS:
            raise InvalidTokenError(f"Invalid token: use one of {', '.join(ALGORITHMS)}.")
        key = await self._find_key(header.get("kid"))
        if key is None:
            raise InvalidTokenError("Invalid token: the issuer has no key with its 'kid'.")
        try:
            try:
                claims = self._decode(token, key)
            except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
                # An issuer may have replaced its key without another name, or without any.
                newer = await self._find_newer_key(header.get("kid"), key)
                if newer is None:
                    raise
                claims = self._decode(token, newer)
        except jwt.ExpiredSignatureError:
            raise InvalidTokenError(
                "The token has expired. Request a new one from its issuer.", is_expired=True
            ) from None
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            reason = error if isinstance(error, jwt.PyJWTError) else "its claims are malformed"
            raise InvalidTokenError(f"Invalid token: {reason}.") from None
        subject = claims[self.issuer.client_claim]
        client = self.subjects.get(subject) if isinstance(subject, str) else None
        if client is None:
            raise InvalidTokenError(
                f"Invalid token: its claim '{self.issuer.client_claim}' names no client."
            )
        return client

    def _decode(self, token: bytes, key: VerificationKey) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=key.algorithms,
            audience=self.issuer.audience,
            issuer=self.issuer.issuer,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud", self.issuer.client_claim]},
        )
        return claims

    async def _find_newer_key(self, key_id: Any, key: VerificationKey) -> VerificationKey | None:
        """Return the key that the issuer has now, or None if it was not read again."""
        if self._read_key_set is None:
            return None
        await self._refresh(must_wait=True)
        found = self._select(key_id)
        return None if found is key else found

    async def _find_key(self, key_id: Any) -> VerificationKey | None:
        if self._read_key_set is not None:
            now = self._clock()
            is_unknown = self._select(key_id) is None
            if is_unknown or now - self._read_at > REFRESH_SECONDS:
                await self._refresh(must_wait=is_unknown)
            if self._clock() - self._read_at > STALE_SECONDS:
                raise overload_error("The keys of the token issuer are not available. Retry later.")
        return self._select(key_id)

    def _select(self, key_id: Any) -> VerificationKey | None:
        if key_id is None:
            # A token may omit the key's name if there is only one.
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id) if isinstance(key_id, str) else None

    async def _refresh(self, *, must_wait: bool) -> None:
        """Read the key set, if the last attempt is long enough ago. One request reads it."""
        assert self._read_key_set is not None
        if self._lock.locked() and not must_wait:
            return
        async with self._lock:
            if self._clock() - self._tried_at < RETRY_SECONDS:
                return
            self._tried_at = self._clock()
            try:
                async with asyncio.timeout(_READ_SECONDS):
                    self._keys = parse_key_set(await self._read_key_set())
            except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
                _LOG.error(
                    "Cannot read the keys of issuer %s; keeping the previous ones: %s",
                    self.issuer.issuer,
                    error or type(error).__name__,
                )
            else:
                self._read_at = self._clock()


def create_verifier(config: GatewayConfig, previous: TokenVerifier | None) -> TokenVerifier | None:
    """Return the verifier of a configuration. It keeps its keys if nothing has changed.

    Raises:
        ConfigError: If the configuration contains an invalid key set.
    """
    if config.jwt is None:
        return None
    subjects = {subject: client.name for client in config.clients for subject in client.subjects}
    if previous is not None and (previous.issuer, previous.subjects) == (config.jwt, subjects):
        return previous
    return TokenVerifier(config.jwt, subjects)


def parse_key_set(text: bytes) -> dict[str | None, VerificationKey]:
    """Return the public signature keys of a JSON Web Key Set by key ID.

    Keys for other purposes and of other types are ignored.

    Raises:
        ValueError: If the text is not a key set, or has no usable key.
    """
    if len(text) > MAX_KEY_SET_BYTES:
        raise ValueError(f"the key set is longer than {MAX_KEY_SET_BYTES} bytes")
    try:
        entries = msgspec.json.decode(text, type=dict[str, Any])["keys"]
        if not isinstance(entries, list) or len(entries) > MAX_KEYS:
            raise ValueError(f"the key set must have a list of at most {MAX_KEYS} keys")
    except (msgspec.MsgspecError, KeyError, RecursionError) as error:
        raise ValueError("not a JSON Web Key Set") from error
    keys: dict[str | None, VerificationKey] = {}
    for entry in entries:
        algorithms = _find_algorithms(entry) if isinstance(entry, dict) else ()
        if not algorithms:
            continue
        try:
            key = PyJWK.from_dict(entry, algorithm=algorithms[0])
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        if entry["kty"] == "RSA" and key.key.key_size < _MIN_RSA_BITS:
            continue
        keys[key.key_id] = VerificationKey(key.key, algorithms)
    if not keys:
        raise ValueError("the key set has no public RSA, EC or Ed25519 key for signatures")
    return keys


def _find_algorithms(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the algorithms of a key, none if it does not verify signatures."""
    if entry.get("use", "sig") != "sig" or "d" in entry:
        return ()
    if entry.get("kty") == "RSA":
        possible = _RSA_ALGORITHMS
    else:
        name = _CURVE_ALGORITHMS.get(str(entry.get("crv")))
        possible = () if name is None else (name,)
    stated = entry.get("alg")
    return possible if stated is None else tuple(name for name in possible if name == stated)


async def _download(url: str) -> bytes:
    """Return what `url` responds with.

    Raises:
        aiohttp.ClientError: If there is no successful response.
        ValueError: If it is too long.
    """
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.get(url, allow_redirects=False, headers={"accept": "application/json"}) as response,
    ):
        if response.status != 200:
            raise ValueError(f"the issuer responded with status {response.status}")
        body = bytearray()
        async for part in response.content.iter_chunked(16 << 10):
            body += part
            if len(body) > MAX_KEY_SET_BYTES:
                raise ValueError(f"the key set is longer than {MAX_KEY_SET_BYTES} bytes")
        return bytes(body)
