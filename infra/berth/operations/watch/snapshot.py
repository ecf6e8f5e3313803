"""What a stack does at one moment, as plain data without secrets."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from berth.operations.rollout.status import RolloutStatus
from berth.operations.watch.data_drift import DataDrift, DriftState, describe_data_drift

READY = "ready"
UNKNOWN = "unknown"
"""State of a gateway or a berth that could not be observed."""
# States that need no attention. A cold version has no replicas, as configured.
_GOOD_STATES = frozenset({READY, "cold", "not deployed"})


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Inference requests of one version in the last seconds.

    A request with a client's mistake, status 400 to 499, is not counted.

    Attributes:
        per_second: Requests per second.
        failed_share: Share of requests that ended with a server error. None without requests.
        p50_seconds: Median of the durations, in seconds. None without requests.
        p99_seconds: 99th percentile of the durations, likewise.
    """

    per_second: float
    failed_share: float | None = None
    p50_seconds: float | None = None
    p99_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class BerthStatus:
    """One version of a model.

    Attributes:
        model: The model.
        version: The version.
        state: Its state, such as `ready`.
        replicas: Ready and declared replicas such as `2/3`. None if the platform has no replicas.
        traffic: Percentage of the model's requests.
        is_shadow: Whether it receives duplicates of requests.
        is_exposed: Whether clients can call it by version.
        rates: Its requests. None if they are not known.
        rates_note: Why the rates are not known or not complete, or None.
        data_drift: How its requests compare with its training data. None if no berth of it
            responded.
    """

    model: str
    version: str
    state: str
    replicas: str | None = None
    traffic: float = 0
    is_shadow: bool = False
    is_exposed: bool = False
    rates: Rates | None = None
    rates_note: str | None = None
    data_drift: DataDrift | None = None

    @property
    def name(self) -> str:
        """The model and the version."""
        return f"{self.model} {self.version}"

    @property
    def has_data_drift(self) -> bool:
        """Whether its requests differ from its training data."""
        return self.data_drift is not None and self.data_drift.state is DriftState.CHANGED

    @property
    def is_good(self) -> bool:
        """Whether the state needs no attention."""
        return self.state in _GOOD_STATES


@dataclass(frozen=True, kw_only=True)
class UpdateStatus:
    """One update in the stack's history.

    Attributes:
        number: Its number.
        result: `succeeded` or `failed`.
        ended: When it ended, as ISO 8601.
        changes: How the configuration changed, one line each.
    """

    number: int
    result: str
    ended: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A stack at one moment.

    Attributes:
        stack: The stack's name.
        at: When it was read, in seconds since 1970.
        platform: The platform, or None if it is not known.
        endpoint: The stack's endpoint, or None if it is not known.
        gateway: The gateway's state.
        berths: All versions.
        rollouts: The latest rollout of each model that has one.
        updates: The last updates, the latest first.
        drift: What differs from the last update, as far as it can be found quickly. None if it has
            not been looked for yet.
        usd_per_month: Estimated cost in US dollars. None if it costs nothing by itself, or if the
            estimate is not complete.
        notes: What the platform reports.
        problems: What could not be read, and why.
    """

    stack: str
    at: float
    platform: str | None = None
    endpoint: str | None = None
    gateway: str = UNKNOWN
    berths: tuple[BerthStatus, ...] = ()
    rollouts: tuple[RolloutStatus, ...] = ()
    updates: tuple[UpdateStatus, ...] = ()
    drift: tuple[str, ...] | None = None
    usd_per_month: float | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return the snapshot as a JSON document."""
    return asdict(snapshot) | {"at": format_time(snapshot.at)}


def format_time(seconds: float) -> str:
    """Return a time as ISO 8601, in UTC and whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_rates(rates: Rates | None) -> tuple[str, str, str, str]:
    """Return requests per second, the share of errors, and two percentiles in milliseconds.

    A hyphen is a number that does not exist without requests. What is not known is `n/a`.
    """
    if rates is None:
        return ("n/a",) * 4
    return (
        f"{rates.per_second:,.1f}",
        "-" if rates.failed_share is None else f"{rates.failed_share:.2%}",
        _format_milliseconds(rates.p50_seconds),
        _format_milliseconds(rates.p99_seconds),
    )


def _format_milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f}" if seconds < 0.1 else f"{seconds * 1000:,.0f}"


def list_rate_notes(berths: Sequence[BerthStatus]) -> list[str]:
    """Return why rates are not known or not complete, one line for each reason."""
    names: dict[str, list[str]] = {}
    for berth in berths:
        if berth.rates_note is not None:
            names.setdefault(berth.rates_note, []).append(f"{berth.model} {berth.version}")
    return [
        f"{', '.join(some[:5])}{f' and {len(some) - 5} more' if len(some) > 5 else ''}: {note}"
        for note, some in names.items()
    ]


def format_traffic(berth: BerthStatus) -> str:
    """Return what a version receives."""
    return "shadow" if berth.is_shadow else f"{berth.traffic:g} %"


def list_data_drift(snapshot: Snapshot) -> list[str]:
    """Return how the requests of each version compare with its training data, as lines."""
    return describe_data_drift([(berth.name, berth.data_drift) for berth in snapshot.berths])


def describe_health(snapshot: Snapshot) -> str:
    """Return in one or more sentences what a user must know, without numbers that often change."""
    parts = [] if snapshot.gateway == READY else [f"The gateway is {snapshot.gateway}."]
    bad = [berth for berth in snapshot.berths if not berth.is_good]
    if bad:
        names = ", ".join(f"{each.name} ({each.state})" for each in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        parts.append(f"{len(bad)} of {_count(snapshot.berths)} need attention: {names}{more}.")
    elif snapshot.berths:
        is_one = len(snapshot.berths) == 1
        parts.append("The berth is ready." if is_one else f"{_count(snapshot.berths)} are ready.")
    parts += [
        f"Rollout of {each.model} to version {each.version}: "
        f"{'interrupted while ' if each.is_interrupted else ''}{each.phase}."
        for each in snapshot.rollouts
        if not each.has_ended
    ]
    if snapshot.updates and snapshot.updates[0].result != "succeeded":
        parts.append(f"Update {snapshot.updates[0].number} {snapshot.updates[0].result}.")
    if snapshot.drift:
        parts.append(f"Drift: {len(snapshot.drift)} found.")
    changed = [berth.name for berth in snapshot.berths if berth.has_data_drift]
    if changed:
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        parts.append(f"Requests differ from the training data: {', '.join(changed[:5])}{more}.")
    if snapshot.problems:
        parts.append(f"Not everything could be read: {snapshot.problems[0]}")
    return " ".join(parts)


def _count(berths: Sequence[BerthStatus]) -> str:
    return f"{len(berths)} berth{'' if len(berths) == 1 else 's'}"
