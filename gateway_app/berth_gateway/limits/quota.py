"""Quotas: inference requests per client and calendar period (UTC), and their file."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from berth_gateway.config import Period, Quota
from berth_gateway.limits.limit_decision import LimitDecision

_SAVE_INTERVAL_SECONDS = 1.0
_LOG = logging.getLogger("gateway")


class QuotaCounter(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The requests of one client in one period.

    Attributes:
        period: Calendar period.
        start: First instant of the period.
        used: Requests counted in the period.
    """

    period: Period
    start: datetime
    used: int

    def has_ended(self, now: datetime) -> bool:
        """Return whether the period has ended."""
        return now >= get_period_bounds(self.period, self.start)[1]


class Quotas:
    """The quota counters of all clients.

    The counter of a removed client is kept until its period ends. Removing and adding a client
    does not give it a second quota.

    Args:
        clock: Returns the time in UTC.
        counters: Counters from the file.
    """

    def __init__(self, clock: Callable[[], datetime], counters: Mapping[str, QuotaCounter]) -> None:
        self._clock = clock
        self._counters = dict(counters)
        self._has_unsaved = False

    def consume(self, client: str, quota: Quota) -> LimitDecision:
        """Count one request, if the quota allows it."""
        used = self.get_counter(client, quota).used
        is_allowed = used < quota.requests
        return self.record(client, quota, used + is_allowed, is_allowed=is_allowed)

    def record(self, client: str, quota: Quota, used: int, *, is_allowed: bool) -> LimitDecision:
        """Set the counter after a decision, and describe the decision."""
        now = self._clock()
        _, end = get_period_bounds(quota.period, now)
        self.get_counter(client, quota).used = used
        self._has_unsaved |= is_allowed
        seconds_left = -int((now - end) // timedelta(seconds=1))
        return LimitDecision(
            is_allowed=is_allowed,
            limit=quota.requests,
            remaining=max(0, quota.requests - used),
            reset_seconds=seconds_left,
            retry_after_seconds=0 if is_allowed else max(1, seconds_left),
            resets_at=end,
        )

    def get_counter(self, client: str, quota: Quota) -> QuotaCounter:
        """Return the client's counter of the current period, which starts at 0."""
        start, _ = get_period_bounds(quota.period, self._clock())
        counter = self._counters.get(client)
        if counter is None or (counter.period, counter.start) != (quota.period, start):
            counter = QuotaCounter(period=quota.period, start=start, used=0)
            self._counters[client] = counter
        return counter

    def get_current(self) -> dict[str, QuotaCounter]:
        """Return a copy of each counter whose period has not ended, by client."""
        now = self._clock()
        return {
            name: msgspec.structs.replace(counter)
            for name, counter in self._counters.items()
            if not counter.has_ended(now)
        }

    def get_used(self) -> dict[str, int]:
        """Return the requests in each period that has not ended, by client."""
        return {name: counter.used for name, counter in self.get_current().items()}

    def pop_unsaved(self) -> dict[str, QuotaCounter] | None:
        """Return the counters to save, or None if nothing was counted since the last call."""
        if not self._has_unsaved:
            return None
        self._has_unsaved = False
        self._counters = self.get_current()
        return self.get_current()

    def mark_unsaved(self) -> None:
        """Let `pop_unsaved` return the counters again, because they could not be saved."""
        self._has_unsaved = True


def get_period_bounds(period: Period, moment: datetime) -> tuple[datetime, datetime]:
    """Return the first instant of the period that contains `moment`, and of the next period.

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


def read_counters(path: Path) -> dict[str, QuotaCounter]:
    """Read the counters from a file. Return none if the file does not exist.

    An invalid file is logged and ignored: serving too many requests is better than serving none.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, QuotaCounter])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        _LOG.error("Cannot read quota counters; starting at zero: %s: %s", path, error)
        return {}


def write_counters(path: Path, counters: dict[str, QuotaCounter]) -> None:
    """Replace the file atomically.

    Raises:
        OSError: If the file cannot be written.
    """
    new_file = path.with_name(f"{path.name}.new")
    with new_file.open("wb") as file:
        file.write(msgspec.json.encode(counters))
        file.flush()
        os.fsync(file.fileno())
    new_file.replace(path)


async def save_counters(quotas: Quotas, path: Path, stop: asyncio.Event) -> None:
    """Save changed counters once per second, and again when `stop` is set.

    A process that is killed loses the requests of its last second.
    """
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _SAVE_INTERVAL_SECONDS)
        counters = quotas.pop_unsaved()
        if counters is None:
            continue
        try:
            await asyncio.to_thread(write_counters, path, counters)
        except OSError as error:
            _LOG.error("Cannot write quota counters; retrying: %s: %s", path, error)
            quotas.mark_unsaved()
