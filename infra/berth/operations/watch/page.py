"""Snapshots as an HTML page: sections that a script replaces when they change."""

import html
from collections.abc import Callable, Sequence

from berth.operations.pages.plot import Line, Plot, Unit, build_plot
from berth.operations.pages.table import build_list, build_scroll_region, build_table
from berth.operations.rollout.status import describe_record, describe_rollout
from berth.operations.watch.snapshot import (
    BerthStatus,
    Rates,
    Snapshot,
    describe_health,
    format_rates,
    format_time,
    format_traffic,
    list_data_drift,
    list_rate_notes,
)
from berth.operations.watch.terminal import list_some

_BERTH_TITLES = (
    *("model", "version", "state", "replicas", "traffic", "exposed"),
    *("requests/s", "errors", "p50 (ms)", "p99 (ms)"),
)
_TITLES = {
    "berths": "Berths",
    "plots": "Requests",
    "rollouts": "Rollouts",
    "drift": "Drift",
    "data-drift": "Data drift",
    "updates": "Updates",
}
# Readings that are further apart are not connected by a line.
_GAP_SECONDS = 60.0


def build_page(snapshots: Sequence[Snapshot]) -> str:
    """Return the whole page, which is readable without scripts.

    Args:
        snapshots: The snapshots of the last minutes, oldest first. At least one.
    """
    sections = build_sections(snapshots)
    stack = html.escape(snapshots[-1].stack)
    body = "\n".join(
        f'<section aria-labelledby="{key}-title"><h2 id="{key}-title">{title}</h2>'
        f"{_build_container(key, title, sections[key])}</section>"
        for key, title in _TITLES.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{stack} - Berth</title>
<link rel="icon" href="/dashboard.svg" type="image/svg+xml">
<link rel="stylesheet" href="/dashboard.css">
<script src="/dashboard.js" defer></script>
</head>
<body>
<a class="skip" href="#berths-title">Skip to the berths</a>
<header>
<h1>Stack {stack}</h1>
<div id="summary">{sections["summary"]}</div>
<p id="health" role="status">{sections["health"]}</p>
<p class="controls"><button type="button" id="pause" hidden>Pause updates</button>
<span id="read-at">{sections["read-at"]}</span></p>
<p id="connection" class="bad" role="alert"></p>
<noscript><p>Reload the page to update it, because scripts are off.</p></noscript>
</header>
<main>
<div id="problems">{sections["problems"]}</div>
{body}
</main>
</body>
</html>
"""


def _build_container(key: str, title: str, content: str) -> str:
    """Return the element whose content the script replaces. The focus stays on the region."""
    if key in ("berths", "updates"):
        return build_scroll_region(f"Table: {title}", f'<div id="{key}">{content}</div>')
    return f'<div id="{key}">{content}</div>'


def build_sections(snapshots: Sequence[Snapshot]) -> dict[str, str]:
    """Return the content of each element with an ID, as HTML."""
    latest = snapshots[-1]
    return {
        "summary": _build_summary(latest),
        "health": html.escape(describe_health(latest)),
        "read-at": f"Read at {format_time(latest.at)}",
        "problems": _build_problems(latest),
        "berths": _build_berths(latest.berths),
        "plots": _build_plots(snapshots),
        "rollouts": _build_rollouts(latest),
        "drift": _build_drift(latest),
        "data-drift": _build_data_drift(latest),
        "updates": _build_updates(latest),
    }


def _build_summary(snapshot: Snapshot) -> str:
    entries = [
        ("Platform", snapshot.platform or "unknown"),
        ("Endpoint", snapshot.endpoint or "unknown"),
        ("Gateway", snapshot.gateway),
    ]
    if snapshot.usd_per_month is not None:
        entries.append(("Estimated cost", f"{snapshot.usd_per_month:,.0f} USD per month"))
    cells = "".join(
        f"<div><dt>{name}</dt><dd>{html.escape(value)}</dd></div>" for name, value in entries
    )
    return f"<dl>{cells}</dl>"


def _build_problems(snapshot: Snapshot) -> str:
    parts = []
    if snapshot.problems:
        parts.append(f"<h2>Not readable</h2>{build_list(snapshot.problems)}")
    if snapshot.notes:
        parts.append(f"<h2>Notes</h2>{build_list(snapshot.notes)}")
    return "".join(parts)


def _build_berths(berths: Sequence[BerthStatus]) -> str:
    if not berths:
        return "<p>No berths.</p>"
    rows = [
        (
            berth.model,
            berth.version,
            f"{'' if berth.is_good else '⚠ '}{berth.state}",
            berth.replicas or "-",
            format_traffic(berth),
            "yes" if berth.is_exposed else "no",
            *format_rates(berth.rates),
        )
        for berth in berths
    ]
    caption = "Versions of each model, with their requests of the last 10 seconds"
    table = build_table(caption, _BERTH_TITLES, rows, numbers=7, headers=2)
    notes = [f"Rates of {note}" for note in list_rate_notes(berths)]
    return table + (build_list(notes) if notes else "")


def _build_plots(snapshots: Sequence[Snapshot]) -> str:
    models = dict.fromkeys(berth.model for berth in snapshots[-1].berths)
    if not models:
        return "<p>No berths.</p>"
    return "".join(
        f'<h3>{html.escape(model)}</h3><div class="plots">'
        + build_plot(
            _plan(snapshots, model, "Requests", Unit(name="per second"), lambda r: r.per_second)
        )
        + build_plot(
            _plan(
                snapshots,
                model,
                "Server errors",
                Unit(name="percent of requests", suffix=" %"),
                lambda r: None if r.failed_share is None else 100 * r.failed_share,
            )
        )
        + build_plot(
            _plan(
                snapshots,
                model,
                "Latency, 99th percentile",
                Unit(name="milliseconds"),
                lambda r: None if r.p99_seconds is None else 1000 * r.p99_seconds,
            )
        )
        + "</div>"
        for model in models
    )


def _plan(
    snapshots: Sequence[Snapshot],
    model: str,
    title: str,
    unit: Unit,
    select: Callable[[Rates], float | None],
) -> Plot:
    """Return the plot of one number of each version of a model."""
    versions = [berth.version for berth in snapshots[-1].berths if berth.model == model]
    start, end = snapshots[0].at, max(snapshots[-1].at, snapshots[0].at + 60)
    return Plot(
        title=title,
        unit=unit,
        lines=[
            Line(
                name=f"version {version}", segments=_find_points(snapshots, model, version, select)
            )
            for version in versions
        ],
        start=start,
        end=end,
        axis=(_format_clock(start), "time (UTC)", _format_clock(end)),
        least_top=10,
    )


def _find_points(
    snapshots: Sequence[Snapshot],
    model: str,
    version: str,
    select: Callable[[Rates], float | None],
) -> list[list[tuple[float, float]]]:
    segments: list[list[tuple[float, float]]] = [[]]
    for snapshot in snapshots:
        rates = next(
            (
                berth.rates
                for berth in snapshot.berths
                if (berth.model, berth.version) == (model, version)
            ),
            None,
        )
        value = select(rates) if rates else None
        own = segments[-1]
        if own and (value is None or snapshot.at - own[-1][0] > _GAP_SECONDS):
            segments.append([])
        if value is not None:
            segments[-1].append((snapshot.at, value))
    return [segment for segment in segments if segment]


def _build_rollouts(snapshot: Snapshot) -> str:
    if not snapshot.rollouts:
        return "<p>No rollout was started from this project directory.</p>"
    lines = []
    for each in snapshot.rollouts:
        text = ("⚠ " if each.is_interrupted else "") + html.escape(describe_rollout(each))
        if each.resume is not None and each.abort is not None:
            text += (
                f"<br>{html.escape(describe_record(each))}."
                f"<br>No process runs it. Continue it with <code>{html.escape(each.resume)}</code>"
                f", or end it with <code>{html.escape(each.abort)}</code>."
            )
        if each.reason is not None:
            text += f"<br>Reason: {html.escape(each.reason)}"
        if each.event is not None and each.event_at is not None:
            text += (
                f'<br><span class="muted">{format_time(each.event_at)}: '
                f"{html.escape(each.event)}</span>"
            )
        lines.append(f"<li>{text}</li>")
    return f"<ul>{''.join(lines)}</ul>"


def _build_drift(snapshot: Snapshot) -> str:
    if snapshot.drift is None:
        return "<p>Not checked yet.</p>"
    if snapshot.drift:
        return build_list(snapshot.drift) + "<p><code>berth up</code> restores these.</p>"
    return "<p>None found. <code>berth refresh</code> reads every resource.</p>"


def _build_data_drift(snapshot: Snapshot) -> str:
    lines = list_data_drift(snapshot)
    return build_list(lines) if lines else "<p>No berths.</p>"


def _build_updates(snapshot: Snapshot) -> str:
    if not snapshot.updates:
        return "<p>None known yet.</p>"
    rows = [
        (
            str(update.number),
            update.result,
            update.ended.split(".")[0].rstrip("Z") + "Z",
            "; ".join(list_some(update.changes)) or "-",
        )
        for update in snapshot.updates
    ]
    caption = "The last updates, and what they changed in the configuration"
    return build_table(caption, ("update", "result", "ended", "changes"), rows)


def _format_clock(seconds: float) -> str:
    return format_time(seconds)[11:19]
