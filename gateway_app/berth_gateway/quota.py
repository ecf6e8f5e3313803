"""Quota: how many inference requests each client made in the calendar period (UTC)."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from berth_gateway.table import Period, Quota
from berth_gateway.verdict import Verdict


class Counter(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What one client used in the period that began at `start`."""

    period: Period
    start: datetime
    used: int

    def same_period(self, other: "Counter") -> bool:
        """Whether both count the same period."""
        return (self.period, self.start) == (other.period, other.start)

    def over(self, now: datetime) -> bool:
        """Whether the period has ended."""
        return now >= bounds(self.period, self.start)[1]


class Quotas:
    """The counters of all clients. `clock` gives the time in UTC.

    The counter of a client that is taken out of the table is kept until its period is over,
    so that taking a client out and in again does not give it a second quota.

    What was let through here is also counted apart: other gateways that serve the same clients
    are told of it, and each adds to its counters what the others let through.
    """

    def __init__(self, clock: Callable[[], datetime], counters: Mapping[str, Counter]) -> None:
        self._clock = clock
        self._counters = dict(counters)
        self._here: dict[str, Counter] = {}
        self._here_changed: set[str] = set()
        self._changed = False

    def take(self, client: str, quota: Quota) -> Verdict:
        """Count one request of `client`, when its quota lets it through."""
        now = self._clock()
        start, end = bounds(quota.period, now)
        counter = _counter(self._counters, client, quota.period, start)
        allowed = counter.used < quota.requests
        if allowed:
            counter.used += 1
            _counter(self._here, client, quota.period, start).used += 1
            self._here_changed.add(client)
            self._changed = True
        until_end = -int((now - end) // timedelta(seconds=1))
        return Verdict(
            allowed=allowed,
            limit=quota.requests,
            remaining=max(0, quota.requests - counter.used),
            reset_seconds=until_end,
            retry_after_seconds=0 if allowed else max(1, until_end),
        )

    def add(self, client: str, more: Counter) -> bool:
        """Count `more.used` requests of `client` that another gateway let through.

        Returns:
            False, with nothing counted, when its period does not run by this clock, or the
            client's quota is one of another period here.
        """
        if not self._may_count(client, more):
            return False
        _counter(self._counters, client, more.period, more.start).used += more.used
        self._changed = True
        return True

    def raise_to(self, client: str, least: Counter) -> None:
        """Let what `client` used be `least.used` at least, where `add` would count it."""
        if self._may_count(client, least):
            counter = _counter(self._counters, client, least.period, least.start)
            counter.used = max(counter.used, least.used)
            self._changed = True

    def running(self) -> dict[str, Counter]:
        """By client, a copy of each counter whose period is not over."""
        return self._copies(self._counters, self._counters)

    def here(self, clients: Iterable[str] | None = None) -> dict[str, Counter]:
        """The part of `running` that this process let through itself, of all or some clients."""
        return self._copies(self._here, self._here if clients is None else clients)

    def changed_here(self) -> set[str]:
        """The clients for whom `here` has grown since the last call."""
        changed, self._here_changed = self._here_changed, set()
        return changed

    def used(self) -> dict[str, int]:
        """By client, the requests counted in a period that is not over."""
        return {name: counter.used for name, counter in self.running().items()}

    def changes(self) -> dict[str, Counter] | None:
        """The counters to be kept, or None when nothing was counted since the last call."""
        if not self._changed:
            return None
        self._changed = False
        self._counters = self.running()
        self._here = self.here()
        return self.running()

    def not_saved(self) -> None:
        """What `changes` gave could not be kept: give it again."""
        self._changed = True

    def _copies(
        self, counters: Mapping[str, Counter], clients: Iterable[str]
    ) -> dict[str, Counter]:
        now = self._clock()
        found = ((name, counters[name]) for name in clients if name in counters)
        return {name: msgspec.structs.replace(c) for name, c in found if not c.over(now)}

    def _may_count(self, client: str, other: Counter) -> bool:
        now = self._clock()
        counter = self._counters.get(client)
        if other.start > now or other.over(now):
            return False
        return counter is None or counter.same_period(other) or counter.over(now)


def _counter(counters: dict[str, Counter], client: str, period: Period, start: datetime) -> Counter:
    """The client's counter of that period; one of another period is replaced."""
    counter = counters.get(client)
    if counter is None or (counter.period, counter.start) != (period, start):
        counter = counters[client] = Counter(period=period, start=start, used=0)
    return counter


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
