"""Throttle: a token bucket for each client, for rate and burst."""

import math
from collections.abc import Callable, Container
from dataclasses import dataclass

from berth_gateway.table import Client
from berth_gateway.verdict import Verdict

_LATE_SECONDS = 3.0
"""More than passes between two messages of one gateway, one of which was lost."""


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class Throttle:
    """In any `t` seconds a client gets at most `burst + rate_per_second * t` requests through.

    `clock` gives seconds that never go back. Rate and burst are taken from the client at each
    request, so that changed ones hold at once and what was used up stays used up.

    Other gateways that serve the same clients tell what they let through (`debit`), and are told
    what this one did (`taken`). A bucket that they took from at the same time is below zero then,
    and lets nothing through before that is made good.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._taken: dict[str, int] = {}

    def take(self, client: Client) -> Verdict:
        """Count one request of `client`, when it is let through."""
        bucket = self._bucket(client)
        allowed = bucket.tokens >= 1
        if allowed:
            bucket.tokens -= 1
            self._taken[client.name] = self._taken.get(client.name, 0) + 1
        rate = client.rate_per_second
        return Verdict(
            allowed=allowed,
            limit=client.burst,
            remaining=max(0, int(bucket.tokens)),
            reset_seconds=math.ceil((client.burst - bucket.tokens) / rate),
            retry_after_seconds=0 if allowed else max(1, math.ceil((1 - bucket.tokens) / rate)),
        )

    def debit(self, client: Client, tokens: int) -> None:
        """Take what another gateway let through since it told of it last; this may go below zero.

        No more is taken at once than a bucket gives in the time that a message can be late, so
        that a wrong number does not shut a client out for good.
        """
        at_most = client.burst + client.rate_per_second * _LATE_SECONDS
        self._bucket(client).tokens -= min(tokens, at_most)

    def taken(self) -> dict[str, int]:
        """By client, the requests let through here since the last call."""
        taken, self._taken = self._taken, {}
        return taken

    def forget_all_but(self, names: Container[str]) -> None:
        """Drop the buckets of clients that are gone."""
        self._buckets = {n: bucket for n, bucket in self._buckets.items() if n in names}
        self._taken = {n: tokens for n, tokens in self._taken.items() if n in names}

    def _bucket(self, client: Client) -> _Bucket:
        """The client's bucket, with what has come into it by now."""
        now = self._clock()
        bucket = self._buckets.setdefault(client.name, _Bucket(client.burst, now))
        refilled = bucket.tokens + (now - bucket.filled_at) * client.rate_per_second
        bucket.tokens = min(refilled, client.burst)
        bucket.filled_at = now
        return bucket
