"""Verdict: whether a limit lets a request through, and what the client should know of it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A limit's answer to one request.

    Attributes:
        allowed: the request may go on.
        limit: requests that the limit lets through at most.
        remaining: of these, what is left after this request.
        reset_seconds: until all of `limit` is there again.
        retry_after_seconds: when to come again, at least 1; 0 for a request that is allowed.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    retry_after_seconds: int


def verdict_headers(verdict: Verdict) -> dict[str, str]:
    """RateLimit-Limit, -Remaining and -Reset, and Retry-After for a request refused."""
    headers = {
        "ratelimit-limit": str(verdict.limit),
        "ratelimit-remaining": str(verdict.remaining),
        "ratelimit-reset": str(verdict.reset_seconds),
    }
    if not verdict.allowed:
        headers["retry-after"] = str(verdict.retry_after_seconds)
    return headers
