"""Throttle: a token bucket for each client, for rate and burst."""

import math
from collections.abc import Callable, Container
from dataclasses import dataclass

from gateway_app.table import Client
from gateway_app.verdict import Verdict


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class Throttle:
    """In any `t` seconds a client gets at most `burst + rate_per_second * t` requests through.

    `clock` gives seconds that never go back. Rate and burst are taken from the client at each
    request, so that changed ones hold at once and what was used up stays used up.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, client: Client) -> Verdict:
        """Count one request of `client`, when it is let through."""
        now = self._clock()
        bucket = self._buckets.setdefault(client.name, _Bucket(client.burst, now))
        refilled = bucket.tokens + (now - bucket.filled_at) * client.rate_per_second
        bucket.tokens = min(refilled, client.burst)
        bucket.filled_at = now
        allowed = bucket.tokens >= 1
        if allowed:
            bucket.tokens -= 1
        rate = client.rate_per_second
        return Verdict(
            allowed=allowed,
            limit=client.burst,
            remaining=int(bucket.tokens),
            reset_seconds=math.ceil((client.burst - bucket.tokens) / rate),
            retry_after_seconds=0 if allowed else max(1, math.ceil((1 - bucket.tokens) / rate)),
        )

    def forget_all_but(self, names: Container[str]) -> None:
        """Drop the buckets of clients that are gone."""
        self._buckets = {n: bucket for n, bucket in self._buckets.items() if n in names}
