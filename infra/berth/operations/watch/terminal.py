"""A snapshot as lines for a terminal."""

import textwrap
import time
from collections.abc import Sequence
from datetime import datetime

from berth.operations.rollout.status import describe_record, describe_rollout
from berth.operations.watch.snapshot import (
    BerthStatus,
    Snapshot,
    format_rates,
    format_time,
    format_traffic,
    list_data_drift,
    list_rate_notes,
)

_BOLD, _RED, _GREEN, _YELLOW = "1", "31", "32", "33"
_TITLES = (
    *("MODEL", "VERSION", "STATE", "REPLICAS", "TRAFFIC", "EXPOSED"),
    *("REQ/S", "ERRORS", "P50 MS", "P99 MS"),
)
_TEXT_COLUMNS = 3
# A narrow terminal shows fewer columns: these are left out first.
_LESS_IMPORTANT = ("EXPOSED", "REPLICAS", "P50 MS", "ERRORS", "TRAFFIC", "P99 MS")
_INDENT = 10
_SHOWN_LINES = 5


def format_snapshot(snapshot: Snapshot, *, width: int = 0, has_color: bool = False) -> list[str]:
    """Return the lines of a snapshot.

    On a narrow terminal, the table has fewer columns, and other long lines continue below.

    Args:
        width: Maximum number of characters in a line. 0 does not limit it.
        has_color: Whether to use escape sequences for colors. The text is the same without them.
    """

    def paint(text: str, color: str) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if has_color and color else text

    def clean(text: str) -> str:
        return "".join(each if each.isprintable() else " " for each in text)

    def line(text: str, color: str = "") -> str:
        whole = clean(text)
        cut = whole if not width or len(whole) <= width else f"{whole[: width - 1]}…"
        return paint(cut, color)

    def wrap(text: str, color: str = "", indent: int = _INDENT) -> list[str]:
        return [paint(each, color) for each in _wrap(clean(text), width, indent)]

    lines = [
        *wrap(_format_head(snapshot), _BOLD),
        *wrap(f"endpoint  {snapshot.endpoint or 'unknown'} (gateway {snapshot.gateway})"),
    ]
    if snapshot.usd_per_month is not None:
        lines.append(line(f"cost      about {snapshot.usd_per_month:,.0f} USD per month"))
    for each in snapshot.problems:
        lines += wrap(f"problem   {each}", _RED)
    for each in snapshot.notes:
        lines += wrap(f"note      {each}", _YELLOW)
    rows = _align([_TITLES, *(_list_cells(berth) for berth in snapshot.berths)], width)
    lines += ["", line(rows[0], _BOLD)]
    lines += [
        line(row, _GREEN if berth.is_good else _RED)
        for row, berth in zip(rows[1:], snapshot.berths, strict=True)
    ]
    if not snapshot.berths:
        lines.append(line("no berths"))
    for each in list_rate_notes(snapshot.berths):
        lines += wrap(f"rates of  {each}", _YELLOW)
    for each in _format_rollouts(snapshot):
        lines += wrap(each, indent=4)
    lines += ["", line("DRIFT", _BOLD)]
    for each in _format_drift(snapshot):
        lines += wrap(each, indent=2)
    if snapshot.berths:
        lines += ["", line("DATA DRIFT", _BOLD)]
        for each in list_data_drift(snapshot):
            lines += wrap(each, indent=2)
    lines += ["", line("UPDATES", _BOLD), *(line(each) for each in _format_updates(snapshot))]
    return lines


def _format_head(snapshot: Snapshot) -> str:
    platform = f" on {snapshot.platform}" if snapshot.platform else ""
    return f"stack     {snapshot.stack}{platform}, {format_time(snapshot.at)}"


def _list_cells(berth: BerthStatus) -> tuple[str, ...]:
    return (
        berth.model,
        berth.version,
        berth.state,
        berth.replicas or "-",
        format_traffic(berth),
        "yes" if berth.is_exposed else "no",
        *format_rates(berth.rates),
    )


def _align(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return the rows with aligned columns, and at a limited width without some columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    columns = list(range(len(_TITLES)))
    for title in _LESS_IMPORTANT:
        if width and sum(widths[column] + 2 for column in columns) - 2 > width:
            columns.remove(_TITLES.index(title))
    return [
        "  ".join(
            row[column].ljust(widths[column])
            if column < _TEXT_COLUMNS
            else row[column].rjust(widths[column])
            for column in columns
        )
        for row in rows
    ]


def _wrap(text: str, width: int, indent: int) -> list[str]:
    """Return a line that is not longer than the width, and those that continue it."""
    if not width or len(text) <= width:
        return [text]
    return textwrap.wrap(
        text,
        max(width, 2 * indent),
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def _format_rollouts(snapshot: Snapshot) -> list[str]:
    if not snapshot.rollouts:
        return []
    lines = ["", "ROLLOUTS"]
    for each in snapshot.rollouts:
        lines.append(describe_rollout(each))
        if each.is_interrupted:
            lines.append(f"  {describe_record(each)}")
            lines.append(f"  continue it with  {each.resume}")
            lines.append(f"  end it with       {each.abort}")
        if each.event is not None:
            ago = _format_age(snapshot.at - (each.event_at or snapshot.at))
            lines.append(f"  {ago}: {each.event}")
    return lines


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
