"""Quotas are exact in each calendar period, and their counters survive a restart."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth_gateway.config import Period, Quota
from berth_gateway.limits.quota import (
    QuotaCounter,
    Quotas,
    get_period_bounds,
    read_counters,
    write_counters,
)

PERIODS: tuple[Period, ...] = ("hour", "day", "week", "month")
LAST_SECOND = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)


class Clock:
    """A clock that tests set."""

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
def test_period_bounds_of_leap_day(period: Period, start: str, end: str) -> None:
    bounds = get_period_bounds(period, datetime(2024, 2, 29, 13, 14, 15, 16, tzinfo=UTC))
    assert [moment.strftime("%Y-%m-%dT%H:%M") for moment in bounds] == [start, end]


moments = st.datetimes(
    min_value=datetime(2000, 1, 1),
    max_value=datetime(2100, 1, 1),
    timezones=st.just(UTC),
)


@given(st.sampled_from(PERIODS), moments)
def test_periods_cover_time_without_gap_or_overlap(period: Period, moment: datetime) -> None:
    start, end = get_period_bounds(period, moment)
    assert start <= moment < end
    assert get_period_bounds(period, start) == (start, end)
    assert get_period_bounds(period, end)[0] == end
    assert get_period_bounds(period, end - timedelta(microseconds=1)) == (start, end)


@pytest.mark.parametrize("period", PERIODS)
def test_new_period_resets_quota(period: Period) -> None:
    clock = Clock(LAST_SECOND)
    quotas = Quotas(clock, {})
    quota = Quota(requests=2, period=period)
    assert [quotas.consume("a", quota).is_allowed for _ in range(3)] == [True, True, False]
    clock.now = get_period_bounds(period, clock.now)[1]
    assert quotas.consume("a", quota).remaining == 1


def test_decision_reports_limit_remaining_and_reset() -> None:
    quotas = Quotas(Clock(LAST_SECOND + timedelta(microseconds=1)), {})
    quota = Quota(requests=1, period="month")
    assert quotas.consume("a", quota).retry_after_seconds == 0
    rejected = quotas.consume("a", quota)
    assert (rejected.limit, rejected.remaining) == (1, 0)
    assert (rejected.reset_seconds, rejected.retry_after_seconds) == (1, 1)


def test_each_client_has_its_own_quota() -> None:
    quotas = Quotas(Clock(LAST_SECOND), {})
    quota = Quota(requests=1, period="day")
    assert quotas.consume("a", quota).is_allowed
    assert quotas.consume("b", quota).is_allowed
    assert not quotas.consume("a", quota).is_allowed


def test_changed_quota_in_same_period_keeps_used_requests() -> None:
    quotas = Quotas(Clock(LAST_SECOND), {})
    quotas.consume("a", Quota(requests=1, period="day"))
    assert quotas.consume("a", Quota(requests=5, period="day")).remaining == 3
    assert quotas.consume("a", Quota(requests=1, period="day")).remaining == 0


def test_counters_are_restored_from_file(tmp_path: Path) -> None:
    clock = Clock(LAST_SECOND)
    quota = Quota(requests=3, period="day")
    before = Quotas(clock, {})
    before.consume("a", quota)
    before.consume("a", quota)
    unsaved = before.pop_unsaved()
    assert unsaved is not None
    write_counters(tmp_path / "quotas.json", unsaved)
    assert before.pop_unsaved() is None
    after = Quotas(clock, read_counters(tmp_path / "quotas.json"))
    assert after.get_used() == {"a": 2}
    assert [after.consume("a", quota).is_allowed for _ in range(2)] == [True, False]


def test_counters_of_past_periods_are_dropped() -> None:
    clock = Clock(LAST_SECOND)
    quotas = Quotas(clock, {})
    quotas.consume("old", Quota(requests=3, period="hour"))
    clock.now += timedelta(seconds=1)
    quotas.consume("new", Quota(requests=3, period="hour"))
    assert quotas.get_used() == {"new": 1}
    assert list(quotas.pop_unsaved() or {}) == ["new"]


def test_unsaved_counters_are_a_copy() -> None:
    quotas = Quotas(Clock(LAST_SECOND), {})
    quota = Quota(requests=3, period="day")
    quotas.consume("a", quota)
    unsaved = quotas.pop_unsaved()
    quotas.consume("a", quota)
    assert unsaved is not None
    assert unsaved["a"].used == 1


def test_invalid_file_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "quotas.json"
    assert read_counters(path) == {}
    path.write_bytes(b'{"a": {"period": "day", "st')
    assert read_counters(path) == {}


def test_failed_write_keeps_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "quotas.json"
    counter = QuotaCounter(period="day", start=LAST_SECOND, used=1)
    write_counters(path, {"a": counter})
    (tmp_path / "quotas.json.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_counters(path, {})
    assert read_counters(path) == {"a": counter}
