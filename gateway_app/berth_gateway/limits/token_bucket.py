"""Token buckets: the rate and the burst of each client."""

import math
from collections.abc import Callable, Container
from dataclasses import dataclass

from berth_gateway.config import Client
from berth_gateway.limits.limit_decision import LimitDecision


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class TokenBuckets:
    """One token bucket per client.

    In any `t` seconds, a client gets at most `burst + rate_per_second * t` requests through. Rate
    and burst are read from the client at each request, so that changes apply immediately and used
    tokens stay used.

    Args:
        clock: Returns monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, client: Client) -> LimitDecision:
        """Take a token for one request, if there is one."""
        bucket = self._refill(client)
        is_allowed = bucket.tokens >= 1
        if is_allowed:
            bucket.tokens -= 1
        rate = client.rate_per_second
        return LimitDecision(
            is_allowed=is_allowed,
            limit=client.burst,
            remaining=max(0, int(bucket.tokens)),
            reset_seconds=math.ceil((client.burst - bucket.tokens) / rate),
            retry_after_seconds=0 if is_allowed else max(1, math.ceil((1 - bucket.tokens) / rate)),
        )

    def set_tokens(self, client: Client, tokens: float) -> None:
        """Set the tokens that the client has now."""
        self._refill(client).tokens = tokens

    def keep_only(self, clients: Container[str]) -> None:
        """Forget the buckets of all other clients."""
        self._buckets = {n: bucket for n, bucket in self._buckets.items() if n in clients}

    def _refill(self, client: Client) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(client.name, _Bucket(client.burst, now))
        tokens = bucket.tokens + (now - bucket.filled_at) * client.rate_per_second
        bucket.tokens = min(tokens, client.burst)
        bucket.filled_at = now
        return bucket
