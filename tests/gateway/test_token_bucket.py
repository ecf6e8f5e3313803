"""A token bucket allows at most burst + rate * t, and a retry after the stated delay."""

from hypothesis import given
from hypothesis import strategies as st

from berth_gateway.config import Client
from berth_gateway.limits.token_bucket import TokenBuckets


class Clock:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def build_client(rate: float, burst: int, name: str = "a") -> Client:
    return Client(name=name, keys=[], rate_per_second=rate, burst=burst)


def test_burst_is_allowed_and_then_rate() -> None:
    clock = Clock()
    buckets = TokenBuckets(clock)
    client = build_client(rate=2, burst=3)
    assert [buckets.take(client).is_allowed for _ in range(5)] == [True] * 3 + [False] * 2
    clock.now += 0.5
    assert [buckets.take(client).is_allowed for _ in range(2)] == [True, False]
    clock.now += 1000
    assert [buckets.take(client).is_allowed for _ in range(4)] == [True] * 3 + [False]


def test_decision_reports_limit_remaining_and_reset() -> None:
    clock = Clock()
    buckets = TokenBuckets(clock)
    client = build_client(rate=0.1, burst=2)
    first = buckets.take(client)
    assert (first.limit, first.remaining, first.reset_seconds) == (2, 1, 10)
    assert first.retry_after_seconds == 0
    buckets.take(client)
    rejected = buckets.take(client)
    assert (rejected.is_allowed, rejected.remaining) == (False, 0)
    assert (rejected.reset_seconds, rejected.retry_after_seconds) == (20, 10)


def test_each_client_has_its_own_bucket() -> None:
    buckets = TokenBuckets(Clock())
    assert buckets.take(build_client(1, 1, "a")).is_allowed
    assert buckets.take(build_client(1, 1, "b")).is_allowed
    assert not buckets.take(build_client(1, 1, "a")).is_allowed


def test_changed_limits_apply_immediately_and_used_tokens_stay_used() -> None:
    clock = Clock()
    buckets = TokenBuckets(clock)
    for _ in range(10):
        buckets.take(build_client(rate=1, burst=10))
    assert not buckets.take(build_client(rate=1, burst=100)).is_allowed
    clock.now += 1
    assert buckets.take(build_client(rate=50, burst=100)).remaining == 49
    assert buckets.take(build_client(rate=50, burst=2)).remaining == 1


def test_removed_client_is_forgotten() -> None:
    buckets = TokenBuckets(Clock())
    buckets.take(build_client(1, 1, "gone"))
    buckets.take(build_client(1, 1, "stays"))
    buckets.keep_only({"stays"})
    assert buckets.take(build_client(1, 1, "gone")).is_allowed
    assert not buckets.take(build_client(1, 1, "stays")).is_allowed


rates = st.floats(min_value=0.01, max_value=1000)
bursts = st.integers(min_value=1, max_value=50)
gaps = st.lists(st.floats(min_value=0, max_value=20), min_size=1, max_size=200)


@given(rates, bursts, gaps)
def test_no_time_window_exceeds_limit(rate: float, burst: int, gaps: list[float]) -> None:
    clock = Clock()
    buckets = TokenBuckets(clock)
    client = build_client(rate, burst)
    allowed: list[float] = []
    for gap in gaps:
        clock.now += gap
        if buckets.take(client).is_allowed:
            allowed.append(clock.now)
    for i, start in enumerate(allowed):
        for j in range(i, len(allowed)):
            assert j - i + 1 <= burst + rate * (allowed[j] - start) + 1e-6


@given(rates, bursts, gaps)
def test_request_after_retry_delay_is_allowed(rate: float, burst: int, gaps: list[float]) -> None:
    clock = Clock()
    buckets = TokenBuckets(clock)
    client = build_client(rate, burst)
    for gap in gaps:
        clock.now += gap
        decision = buckets.take(client)
        assert 0 <= decision.remaining <= decision.limit == burst
        if not decision.is_allowed:
            assert decision.retry_after_seconds >= 1
            # The small addition covers rounding errors of the clock.
            clock.now += decision.retry_after_seconds + 1e-6
            assert buckets.take(client).is_allowed
