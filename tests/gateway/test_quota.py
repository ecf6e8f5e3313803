"""Quota: exact in each calendar period, and its counters outlive the process."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth_gateway.config import Period, Quota
from berth_gateway.limits.quota import Counter, Quotas, bounds, read_counters, write_counters

PERIODS: tuple[Period, ...] = ("hour", "day", "week", "month")
LAST_SECOND = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("hour", "2024-02-29T13:00", "2024-02-29T14:00"),
        ("day", "2024-02-29T00:00", "2024-03-01T00:00"),
        ("week", "2024-02-26T00:00", "2024-03-04T00:00"),
        ("month", "2024-02-01T00:00", "2024-03-01T00:00"),
    ],
)
def test_periods_of_a_leap_day(period: Period, start: str, end: str) -> None:
    found = bounds(period, datetime(2024, 2, 29, 13, 14, 15, 16, tzinfo=UTC))
    assert [moment.strftime("%Y-%m-%dT%H:%M") for moment in found] == [start, end]


moments = st.datetimes(
    min_value=datetime(2000, 1, 1),
    max_value=datetime(2100, 1, 1),
    timezones=st.just(UTC),
)


@given(st.sampled_from(PERIODS), moments)
def test_periods_cover_time_without_gap_or_overlap(period: Period, moment: datetime) -> None:
    start, end = bounds(period, moment)
    assert start <= moment < end
    assert bounds(period, start) == (start, end)
    assert bounds(period, end)[0] == end
    assert bounds(period, end - timedelta(microseconds=1)) == (start, end)


@pytest.mark.parametrize("period", PERIODS)
def test_a_new_period_gives_a_new_quota(period: Period) -> None:
    clock = Clock(LAST_SECOND)
    quotas = Quotas(clock, {})
    quota = Quota(requests=2, period=period)
    assert [quotas.take("a", quota).is_allowed for _ in range(3)] == [True, True, False]
    clock.now = bounds(period, clock.now)[1]
    assert quotas.take("a", quota).remaining == 1


def test_what_the_client_is_told() -> None:
    quotas = Quotas(Clock(LAST_SECOND + timedelta(microseconds=1)), {})
    quota = Quota(requests=1, period="month")
    assert quotas.take("a", quota).retry_after_seconds == 0
    rejected = quotas.take("a", quota)
    assert (rejected.limit, rejected.remaining) == (1, 0)
    assert (rejected.reset_seconds, rejected.retry_after_seconds) == (1, 1)


def test_clients_do_not_share() -> None:
    quotas = Quotas(Clock(LAST_SECOND), {})
    quota = Quota(requests=1, period="day")
    assert quotas.take("a", quota).is_allowed
    assert quotas.take("b", quota).is_allowed
    assert not quotas.take("a", quota).is_allowed


def test_more_requests_in_the_same_period_leave_what_was_used() -> None:
    quotas = Quotas(Clock(LAST_SECOND), {})
    quotas.take("a", Quota(requests=1, period="day"))
    assert quotas.take("a", Quota(requests=5, period="day")).remaining == 3
    assert quotas.take("a", Quota(requests=1, period="day")).remaining == 0


def test_counters_come_back_from_their_file(tmp_path: Path) -> None:
    clock = Clock(LAST_SECOND)
    quota = Quota(requests=3, period="day")
    before = Quotas(clock, {})
    before.take("a", quota)
    before.take("a", quota)
    changed = before.changes()
    assert changed is not None
    write_counters(tmp_path / "quotas.json", changed)
    assert before.changes() is None
    after = Quotas(clock, read_counters(tmp_path / "quotas.json"))
    assert after.used() == {"a": 2}
    assert [after.take("a", quota).is_allowed for _ in range(2)] == [True, False]


def test_counters_of_past_periods_are_not_kept() -> None:
    clock = Clock(LAST_SECOND)
    quotas = Quotas(clock, {})
    quotas.take("old", Quota(requests=3, period="hour"))
    clock.now += timedelta(seconds=1)
    quotas.take("new", Quota(requests=3, period="hour"))
    assert quotas.used() == {"new": 1}
    assert list(quotas.changes() or {}) == ["new"]


def test_changes_are_a_copy_that_later_requests_leave_alone() -> None:
    quotas = Quotas(Clock(LAST_SECOND), {})
    quota = Quota(requests=3, period="day")
    quotas.take("a", quota)
    changed = quotas.changes()
    quotas.take("a", quota)
    assert changed is not None
    assert changed["a"].used == 1


def test_an_unusable_file_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "quotas.json"
    assert read_counters(path) == {}
    path.write_bytes(b'{"a": {"period": "day", "st')
    assert read_counters(path) == {}


def test_a_write_that_fails_leaves_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "quotas.json"
    counter = Counter(period="day", start=LAST_SECOND, used=1)
    write_counters(path, {"a": counter})
    (tmp_path / "quotas.json.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_counters(path, {})
    assert read_counters(path) == {"a": counter}
