"""Authentication: which client sent a request, and which addresses may not try again yet."""

import logging
import time
from datetime import UTC, datetime

from berth_gateway.active_config import ActiveConfig
from berth_gateway.config import Client
from berth_gateway.limits.blocks import BlockList, normalize_address
from berth_gateway.limits.known_addresses import KnownAddresses
from berth_gateway.metrics import Metrics
from berth_gateway.request_context import RequestContext
from berth_protocol.errors import RequestError
from berth_protocol.headers import API_KEY, AUTHORIZATION, FORWARDED_FOR, RETRY_AFTER

_API_KEY = API_KEY.encode()
_AUTHORIZATION = AUTHORIZATION.encode()
_FORWARDED_FOR = FORWARDED_FOR.encode()
_BEARER = b"bearer "
_LOG = logging.getLogger("gateway")


class Authenticator:
    """Identifies clients by API keys or tokens, and blocks addresses that keep guessing.

    Args:
        trusts_forwarded_for: Whether every caller is an ingress controller that sets
            X-Forwarded-For. Otherwise any client could choose its address.
    """

    def __init__(self, metrics: Metrics, *, trusts_forwarded_for: bool) -> None:
        self.blocked_addresses = BlockList(time.monotonic)
        self.known_addresses = KnownAddresses(time.monotonic)
        self._metrics = metrics
        self._trusts_forwarded_for = trusts_forwarded_for

    async def authenticate(self, active: ActiveConfig, context: RequestContext) -> Client:
        """Return the client that sent a request. The context receives its name.

        Raises:
            RequestError: 401 if the credentials are missing or invalid, 429 if the address is
                blocked, 503 if the issuer's public keys are not available.
        """
        address = self._find_address(context)
        seconds_left = self.blocked_addresses.get_seconds_left(address)
        try:
            client = await _identify(active, context)
        except _InvalidCredentialsError as error:
            if seconds_left:
                raise self._reject_address(seconds_left) from None
            self._count_guess(active, address)
            raise RequestError(401, str(error), _build_challenge(active)) from None
        if seconds_left and not self.known_addresses.has(client.name, address):
            raise self._reject_address(seconds_left)
        self.known_addresses.add(client.name, address)
        context.client = client.name
        return client

    def _find_address(self, context: RequestContext) -> str:
        """Return the address of the client, not of the ingress controller.

        The ingress controller replaces the header or appends to it, so its value is the last one.
        """
        values = context.header_values(_FORWARDED_FOR) if self._trusts_forwarded_for else []
        last = values[-1].decode("latin-1").rpartition(",")[2] if values else context.peer
        return normalize_address(last) or context.peer

    def _count_guess(self, active: ActiveConfig, address: str) -> None:
        blocking = active.config.blocking
        if blocking is None:
            return
        seconds = self.blocked_addresses.record(address, blocking.invalid_keys, blocking)
        if seconds:
            self._metrics.address_blocks.inc()
            _LOG.warning(
                "Address %s is blocked for %d s: it sent %d invalid keys within %g s",
                address,
                seconds,
                blocking.invalid_keys,
                blocking.window_seconds,
            )

    def _reject_address(self, seconds_left: int) -> RequestError:
        self._metrics.rejected.labels("", "address_blocked").inc()
        return RequestError(
            429,
            f"Your address sent too many invalid keys. Retry after {seconds_left} s.",
            {RETRY_AFTER: str(seconds_left)},
        )


class _InvalidCredentialsError(Exception):
    """A key or token that belongs to no client. It may be a guess."""


async def _identify(active: ActiveConfig, context: RequestContext) -> Client:
    """Return the client of the request's only API key or token.

    Raises:
        RequestError: 401 if the credentials are missing or expired, or 503.
        _InvalidCredentialsError: If the credentials are wrong.
    """
    keys = context.header_values(_API_KEY)
    tokens = context.header_values(_AUTHORIZATION) if active.tokens is not None else []
    if not keys and not tokens:
        alternative = " or a token in the authorization header" if active.tokens else ""
        raise RequestError(
            401,
            f"API key missing. Send your key in the {API_KEY} header{alternative}.",
            _build_challenge(active),
        )
    if len(keys) + len(tokens) > 1:
        raise _InvalidCredentialsError(
            f"Invalid API key. Send one valid key in the {API_KEY} header."
            if not tokens
            else f"Several credentials. Send either one {API_KEY} header or one token."
        )
    if keys:
        return _find_client(active, keys[0])
    assert active.tokens is not None
    scheme, token = tokens[0][: len(_BEARER)], tokens[0][len(_BEARER) :].strip()
    if scheme.lower() != _BEARER:
        raise _InvalidCredentialsError(
            "Invalid authorization header. Send 'authorization: Bearer' and your token."
        )
    # Loaded only with an issuer: the cryptography library takes 12 MiB of memory.
    from berth_gateway.json_web_tokens import InvalidTokenError

    try:
        return active.clients[await active.tokens.find_client(token)]
    except InvalidTokenError as error:
        if error.is_expired:
            raise RequestError(401, str(error), _build_challenge(active)) from None
        raise _InvalidCredentialsError(str(error)) from None


def _find_client(active: ActiveConfig, value: bytes) -> Client:
    found = active.find_key(value)
    if found is None:
        raise _InvalidCredentialsError(
            f"Invalid API key. Send one valid key in the {API_KEY} header."
        )
    client, key = found
    if key.expires is not None and key.expires <= datetime.now(UTC):
        # The caller has a real key, so this is no guess.
        raise RequestError(
            401,
            f"Key '{key.name}' of client '{client.name}' expired at "
            f"{key.expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}. Send a newer key.",
            _build_challenge(active),
        )
    return client


def _build_challenge(active: ActiveConfig) -> dict[str, str]:
    bearer = ', Bearer realm="berth"' if active.tokens is not None else ""
    return {"www-authenticate": f'ApiKey realm="berth"{bearer}'}
