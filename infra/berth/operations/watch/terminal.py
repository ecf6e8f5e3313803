"""A snapshot as lines for a terminal."""

import time
from collections.abc import Sequence
from datetime import datetime

from berth.operations.watch.snapshot import (
    BerthStatus,
    RolloutStatus,
    Snapshot,
    format_milliseconds,
    format_share,
    format_time,
    format_traffic,
    list_data_drift,
)

_BOLD, _RED, _GREEN, _YELLOW = "1", "31", "32", "33"
_TITLES = (
    *("MODEL", "VERSION", "STATE", "REPLICAS", "TRAFFIC", "EXPOSED"),
    *("REQ/S", "ERRORS", "P50 MS", "P99 MS"),
)
_TEXT_COLUMNS = 3
_SHOWN_LINES = 5


def format_snapshot(snapshot: Snapshot, *, width: int = 0, has_color: bool = False) -> list[str]:
    """Return the lines of a snapshot.

    Args:
        width: Maximum number of characters in a line. 0 does not limit it.
        has_color: Whether to use escape sequences for colors. The text is the same without them.
    """

    def line(text: str, color: str = "") -> str:
        clean = "".join(each if each.isprintable() else " " for each in text)
        cut = clean if not width or len(clean) <= width else f"{clean[: width - 1]}…"
        return f"\x1b[{color}m{cut}\x1b[0m" if has_color and color else cut

    lines = [
        line(_format_head(snapshot), _BOLD),
        line(f"endpoint  {snapshot.endpoint or 'unknown'} (gateway {snapshot.gateway})"),
    ]
    if snapshot.usd_per_month is not None:
        lines.append(line(f"cost      about {snapshot.usd_per_month:,.0f} USD per month"))
    lines += [line(f"problem   {each}", _RED) for each in snapshot.problems]
    lines += [line(f"note      {each}", _YELLOW) for each in snapshot.notes]
    rows = _align([_TITLES, *(_list_cells(berth) for berth in snapshot.berths)])
    lines += ["", line(rows[0], _BOLD)]
    lines += [
        line(row, _GREEN if berth.is_good else _RED)
        for row, berth in zip(rows[1:], snapshot.berths, strict=True)
    ]
    if not snapshot.berths:
        lines.append(line("no berths"))
    lines += [line(each) for each in _format_rollouts(snapshot)]
    lines += ["", line("DRIFT", _BOLD), *(line(each) for each in _format_drift(snapshot))]
    if snapshot.berths:
        lines += ["", line("DATA DRIFT", _BOLD)]
        lines += [line(each) for each in list_data_drift(snapshot)]
    lines += ["", line("UPDATES", _BOLD), *(line(each) for each in _format_updates(snapshot))]
    return lines


def _format_head(snapshot: Snapshot) -> str:
    platform = f" on {snapshot.platform}" if snapshot.platform else ""
    return f"stack     {snapshot.stack}{platform}, {format_time(snapshot.at)}"


def _list_cells(berth: BerthStatus) -> tuple[str, ...]:
    rates = berth.rates
    return (
        berth.model,
        berth.version,
        berth.state,
        berth.replicas or "-",
        format_traffic(berth),
        "yes" if berth.is_exposed else "no",
        f"{rates.per_second:,.1f}" if rates else "-",
        format_share(rates.failed_share if rates else None),
        format_milliseconds(rates.p50_seconds if rates else None),
        format_milliseconds(rates.p99_seconds if rates else None),
    )


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    return [
        "  ".join(
            cell.ljust(width) if column < _TEXT_COLUMNS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _format_rollouts(snapshot: Snapshot) -> list[str]:
    if not snapshot.rollouts:
        return []
    lines = ["", "ROLLOUTS"]
    for each in snapshot.rollouts:
        lines.append(describe_rollout(each))
        if each.event is not None:
            ago = _format_age(snapshot.at - (each.event_at or snapshot.at))
            lines.append(f"  {ago}: {each.event}")
    return lines


def describe_rollout(rollout: RolloutStatus) -> str:
    """Return what a rollout does, or how it ended, in one line."""
    text = f"{rollout.model} {rollout.stable} → {rollout.version}: {rollout.phase}"
    return f"{text}, {rollout.step}" if rollout.is_in_progress else text


def _format_drift(snapshot: Snapshot) -> list[str]:
    if snapshot.drift is None:
        return ["not checked yet"]
    return list_some(snapshot.drift) or ["none found; 'berth refresh' reads every resource"]


def _format_updates(snapshot: Snapshot) -> list[str]:
    lines: list[str] = []
    for update in snapshot.updates:
        age = snapshot.at - _parse_time(update.ended)
        lines.append(f"{update.number:<5} {update.result:<10} {_format_age(age)}")
        lines += [f"      {each}" for each in list_some(update.changes)]
    return lines or ["none known yet"]


def list_some(lines: Sequence[str]) -> list[str]:
    """Return the first lines, and how many there are in addition."""
    more = len(lines) - _SHOWN_LINES
    return [*lines[:_SHOWN_LINES], *([f"and {more} more"] if more > 0 else [])]


def _parse_time(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return time.time()


def _format_age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
