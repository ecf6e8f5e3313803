"""Token buckets: the rate and the burst of each client."""

import math
from collections.abc import Callable, Container
from dataclasses import dataclass

from berth_gateway.config import Client
from berth_gateway.limits.limit_decision import LimitDecision

_MAX_DELAY_SECONDS = 3.0
"""Longer than the time between two updates of a gateway if one of them is lost."""


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class TokenBuckets:
    """One token bucket per client.

    In any `t` seconds, a client gets at most `burst + rate_per_second * t` requests through. Rate
    and burst are read from the client at each request, so that changes apply immediately and used
    tokens stay used.

    Gateways that serve the same clients report the tokens that they used (`pop_taken`, `debit`).
    If several gateways use a bucket at the same time, it becomes negative. It then allows no
    request until it is refilled.

    Args:
        clock: Returns monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._taken: dict[str, int] = {}

    def take(self, client: Client) -> LimitDecision:
        """Take a token for one request, if there is one."""
        bucket = self._refill(client)
        is_allowed = bucket.tokens >= 1
        if is_allowed:
            bucket.tokens -= 1
            self._taken[client.name] = self._taken.get(client.name, 0) + 1
        rate = client.rate_per_second
        return LimitDecision(
            is_allowed=is_allowed,
            limit=client.burst,
            remaining=max(0, int(bucket.tokens)),
            reset_seconds=math.ceil((client.burst - bucket.tokens) / rate),
            retry_after_seconds=0 if is_allowed else max(1, math.ceil((1 - bucket.tokens) / rate)),
        )

    def debit(self, client: Client, tokens: int) -> None:
        """Remove tokens that another gateway used. The bucket can become negative.

        The number is capped at what a bucket provides while an update is delayed, so that a wrong
        number does not lock out a client permanently.
        """
        maximum = client.burst + client.rate_per_second * _MAX_DELAY_SECONDS
        self._refill(client).tokens -= min(tokens, maximum)

    def pop_taken(self) -> dict[str, int]:
        """Return the tokens taken since the last call, by client."""
        taken, self._taken = self._taken, {}
        return taken

    def keep_only(self, clients: Container[str]) -> None:
        """Forget the buckets of all other clients."""
        self._buckets = {n: bucket for n, bucket in self._buckets.items() if n in clients}
        self._taken = {n: tokens for n, tokens in self._taken.items() if n in clients}

    def _refill(self, client: Client) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(client.name, _Bucket(client.burst, now))
        tokens = bucket.tokens + (now - bucket.filled_at) * client.rate_per_second
        bucket.tokens = min(tokens, client.burst)
        bucket.filled_at = now
        return bucket
