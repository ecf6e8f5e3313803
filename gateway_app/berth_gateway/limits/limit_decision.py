"""The decision of a limit about one request, and its response headers."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from berth_protocol.headers import (
    RATE_LIMIT,
    RATE_LIMIT_REMAINING,
    RATE_LIMIT_RESET,
    RETRY_AFTER,
)


@dataclass(frozen=True, kw_only=True)
class LimitDecision:
    """The decision of a rate limit or a quota about one request.

    Attributes:
        is_allowed: Whether the request is within the limit.
        limit: Number of requests that the limit allows: the burst or the quota.
        remaining: Number of requests that are left after this request.
        reset_seconds: Time until all of `limit` is available again, in seconds.
        retry_after_seconds: Time to wait before a retry, at least 1. 0 if the request is allowed.
        resets_at: Time of the reset (UTC). None for a rate limit.
    """

    is_allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    retry_after_seconds: int
    resets_at: datetime | None = None

    def allow(self) -> Self:
        """Return the same decision for a request that passes anyway."""
        return replace(self, is_allowed=True, retry_after_seconds=0)


def build_rate_limit_headers(decision: LimitDecision) -> dict[str, str]:
    """Return the RateLimit headers, and Retry-After if the request is rejected."""
    headers = {
        RATE_LIMIT: str(decision.limit),
        RATE_LIMIT_REMAINING: str(decision.remaining),
        RATE_LIMIT_RESET: str(decision.reset_seconds),
    }
    if not decision.is_allowed:
        headers[RETRY_AFTER] = str(decision.retry_after_seconds)
    return headers
