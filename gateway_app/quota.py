"""Quota: how many inference requests each client made in the calendar period (UTC)."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec

from gateway_app.table import Period, Quota
from gateway_app.verdict import Verdict


class Counter(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What one client used in the period that began at `start`."""

    period: Period
    start: datetime
    used: int


class Quotas:
    """The counters of all clients. `clock` gives the time in UTC.

    The counter of a client that is taken out of the table is kept until its period is over,
    so that taking a client out and in again does not give it a second quota.
    """

    def __init__(self, clock: Callable[[], datetime], counters: Mapping[str, Counter]) -> None:
        self._clock = clock
        self._counters = dict(counters)
        self._changed = False

    def take(self, client: str, quota: Quota) -> Verdict:
        """Count one request of `client`, when its quota lets it through."""
        now = self._clock()
        start, end = bounds(quota.period, now)
        counter = self._counters.get(client)
        if counter is None or (counter.period, counter.start) != (quota.period, start):
            counter = self._counters[client] = Counter(period=quota.period, start=start, used=0)
        allowed = counter.used < quota.requests
        if allowed:
            counter.used += 1
            self._changed = True
        until_end = -int((now - end) // timedelta(seconds=1))
        return Verdict(
            allowed=allowed,
            limit=quota.requests,
            remaining=max(0, quota.requests - counter.used),
            reset_seconds=until_end,
            retry_after_seconds=0 if allowed else max(1, until_end),
        )

    def used(self) -> dict[str, int]:
        """By client, the requests counted in a period that is not over."""
        return {name: counter.used for name, counter in self._running().items()}

    def changes(self) -> dict[str, Counter] | None:
        """The counters to be kept, or None when nothing was counted since the last call."""
        if not self._changed:
            return None
        self._changed = False
        self._counters = self._running()
        return {name: msgspec.structs.replace(c) for name, c in self._counters.items()}

    def not_saved(self) -> None:
        """What `changes` gave could not be kept: give it again."""
        self._changed = True

    def _running(self) -> dict[str, Counter]:
        now = self._clock()
        return {n: c for n, c in self._counters.items() if now < bounds(c.period, c.start)[1]}


def bounds(period: Period, moment: datetime) -> tuple[datetime, datetime]:
    """First instant of the period that `moment` (UTC) lies in, and of the one after it.

    A week begins on Monday.
    """
    hour = moment.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    if period == "hour":
        return hour, hour + timedelta(hours=1)
    if period == "day":
        return day, day + timedelta(days=1)
    if period == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    first = day.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1)
