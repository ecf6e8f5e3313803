"""The report of a rollout: one HTML file without scripts, for a browser without a network."""

import html
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from berth.operations.rollout.controller import describe_step
from berth.operations.rollout.journal import Journal
from berth.operations.rollout.plan import SHADOW_STEP, Plan
from pulumi_berth.files import replace_atomically

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 860, 200, 56, 28, 12
_TITLES = {
    "failed": "Failed requests",
    "slow": "Slow requests",
    "different": "Answers other than the old version's",
}
_STYLE = """
:root { color-scheme: light dark; --line: #0b6bcb; --limit: #c02020; --grid: #8886; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--grid); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; }
svg text { font-size: 12px; fill: currentColor; }
.share { fill: none; stroke: var(--line); stroke-width: 2; }
.limit { stroke: var(--limit); stroke-width: 1.5; stroke-dasharray: 6 4; }
.grid { stroke: var(--grid); }
.result { font-weight: 600; }
"""


def write_report(journal: Journal) -> Path:
    """Write the report next to the journal, and return its path."""
    path = journal.path.with_suffix(".html")
    replace_atomically(path, build_report(journal))
    return path


def build_report(journal: Journal) -> str:
    """Return the report as HTML."""
    plan = journal.plan
    title = f"Rollout of {plan.model} from version {plan.stable} to version {plan.version}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="result">Result: {html.escape(_describe_result(journal))}</p>',
        "<h2>Steps</h2>",
        _build_steps(journal),
        *(_build_plot(journal, kind) for kind in plan.limits),
        "<h2>Events</h2>",
        _build_events(journal),
        "<h2>How it decides</h2>",
        f"<p>{html.escape(_describe_method(plan))}</p>",
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _describe_result(journal: Journal) -> str:
    if journal.reason is not None:
        return f"{journal.phase}, because {journal.reason}"
    return str(journal.phase)


def _describe_method(plan: Plan) -> str:
    return (
        "In each step, a sequential probability ratio test (Wald, 1945) for each kind of event "
        "compares an acceptable share with the limit. A version that stays at or below every "
        "acceptable share is reverted with a probability of at most 5 % in the whole rollout. One "
        "that reaches a limit passes a step with a probability of at most "
        f"{plan.errors.false_promotion:.0%}."
    )


def _build_table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int) -> str:
    """Return a table whose last `numbers` columns are numbers."""
    first = len(titles) - numbers

    def build_row(tag: str, cells: Sequence[str]) -> str:
        kinds = ["" if index < first else ' class="number"' for index in range(len(cells))]
        return "".join(
            f"<{tag}{kind}>{html.escape(cell)}</{tag}>"
            for kind, cell in zip(kinds, cells, strict=True)
        )

    head = build_row("th", titles)
    body = "\n".join(f"<tr>{build_row('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _build_steps(journal: Journal) -> str:
    plan = journal.plan
    rows = []
    for step in plan.steps:
        samples = [sample for sample in journal.samples if sample["step"] == step]
        last = samples[-1] if samples else {}
        shares = [_format_share(last, kind) for kind in plan.limits]
        seconds = f"{last['seconds'] - samples[0]['seconds']:.0f}" if samples else "-"
        rows.append([describe_step(plan, step), seconds, *shares])
    titles = [
        "step",
        "seconds",
        *(f"{kind} (limit {plan.limits[kind]:.2%})" for kind in plan.limits),
    ]
    return _build_table(titles, rows, numbers=len(titles) - 1)


def _format_share(sample: dict[str, Any], kind: str) -> str:
    events = sample.get(f"{kind}_events", 0)
    bad = sample.get(f"{kind}_bad", 0)
    return f"{bad:,} of {events:,} ({bad / events:.2%})" if events else "-"


def _build_events(journal: Journal) -> str:
    rows = [
        [datetime.fromtimestamp(event["at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC"), event["text"]]
        for event in journal.events
    ]
    return _build_table(["time", "event"], rows, numbers=0)


def _build_plot(journal: Journal, kind: str) -> str:
    """Return the share of bad events over time, with the limit, as SVG."""
    plan = journal.plan
    points = [
        (float(sample["seconds"]), sample[f"{kind}_bad"] / sample[f"{kind}_events"])
        for sample in journal.samples
        if sample.get(f"{kind}_events")
    ]
    heading = f"<h2>{_TITLES[kind]}</h2>"
    if not points:
        return f"{heading}<p>No requests were observed.</p>"
    limit = plan.limits[kind]
    end = max(max(seconds for seconds, _ in points), 1.0)
    top: float = max([limit * 1.5, *(share for _, share in points)]) * 1.05
    inner = _HEIGHT - _TOP - _BOTTOM

    def x(seconds: float) -> float:
        return _LEFT + seconds / end * (_WIDTH - _LEFT - 8)

    def y(share: float) -> float:
        return _TOP + (1 - share / top) * inner

    # A step starts at zero again, so its line is its own.
    lines: dict[int, list[str]] = {}
    for sample in journal.samples:
        events = sample.get(f"{kind}_events")
        if events:
            share = sample[f"{kind}_bad"] / events
            lines.setdefault(sample["step"], []).append(
                f"{x(sample['seconds']):.1f},{y(share):.1f}"
            )
    label = f"Share of {kind} requests over {end:.0f} s; the limit is {limit:.2%}."
    body = "".join(
        f'<polyline class="share" points="{" ".join(line)}"/>'
        f'<text x="{line[0].split(",")[0]}" y="{_HEIGHT - 18}">'
        f"{'shadow' if step == SHADOW_STEP else f'{step} %'}</text>"
        for step, line in lines.items()
    )
    axes = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y(share):.1f}" '
        f'y2="{y(share):.1f}"/><text x="4" y="{y(share) + 4:.1f}">{share:.2%}</text>'
        for share in (0.0, limit, top)
    )
    return (
        f'{heading}<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{axes}'
        f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y(limit):.1f}" '
        f'y2="{y(limit):.1f}"/>{body}'
        f'<text x="{_LEFT}" y="{_HEIGHT - 4}">0 s</text>'
        f'<text x="{_WIDTH - 8}" y="{_HEIGHT - 4}" text-anchor="end">{end:.0f} s</text></svg>'
    )
