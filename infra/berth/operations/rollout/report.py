"""The report of a rollout: one HTML file without scripts, for a browser without a network."""

import html
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from berth.operations.pages.plot import Line, Mark, Plot, Unit, build_plot
from berth.operations.pages.style import read_style
from berth.operations.pages.table import build_scroll_region, build_table
from berth.operations.rollout.controller import describe_step
from berth.operations.rollout.journal import Journal
from berth.operations.rollout.plan import SHADOW_STEP, Plan
from pulumi_berth.files import replace_atomically

_TITLES = {
    "failed": "Failed requests",
    "slow": "Slow requests",
    "different": "Answers other than the old version's",
}
_UNIT = Unit(name="percent of the requests in the step", decimals=2, suffix=" %")
# A line with more points is not more readable, only larger.
_LINE_POINTS = 400


def write_report(journal: Journal) -> Path:
    """Write the report next to the journal, and return its path."""
    path = journal.path.with_suffix(".html")
    replace_atomically(path, build_report(journal))
    return path


def build_report(journal: Journal) -> str:
    """Return the report as HTML."""
    plan = journal.plan
    title = f"Rollout of {plan.model} from version {plan.stable} to version {plan.version}"
    plots = "\n".join(_build_plot(journal, kind) for kind in plan.limits)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # The file contains text from a stack. Nothing in it may run or load anything.
        '<meta http-equiv="content-security-policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{html.escape(title)}</title><style>{read_style()}</style></head><body>",
        f"<header><h1>{html.escape(title)}</h1>",
        f"<p><strong>Result: {html.escape(_describe_result(journal))}</strong></p></header><main>",
        f"<h2>Steps</h2>{build_scroll_region('Table: Steps', _build_steps(journal))}",
        f"<h2>Guards</h2>{plots or '<p>No guard was watched.</p>'}",
        f"<h2>Events</h2>{build_scroll_region('Table: Events', _build_events(journal))}",
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


def _group_samples(journal: Journal) -> Mapping[int, Sequence[dict[str, Any]]]:
    """Return the readings of each step that was reached."""
    steps: dict[int, list[dict[str, Any]]] = {}
    for sample in journal.samples:
        steps.setdefault(sample["step"], []).append(sample)
    return steps


def _build_steps(journal: Journal) -> str:
    plan, steps = journal.plan, _group_samples(journal)
    rows = []
    for step in plan.steps:
        samples = steps.get(step, ())
        seconds = f"{samples[-1]['seconds'] - samples[0]['seconds']:.0f}" if samples else "-"
        shares = [_format_share(samples[-1] if samples else {}, kind) for kind in plan.limits]
        rows.append([describe_step(plan, step), seconds, *shares])
    titles = [
        "step",
        "seconds",
        *(f"{kind} (limit {plan.limits[kind]:.2%})" for kind in plan.limits),
    ]
    caption = "Duration of each step, and the bad requests of all that were counted in it"
    return build_table(caption, titles, rows, numbers=len(titles) - 1)


def _format_share(sample: Mapping[str, Any], kind: str) -> str:
    events = sample.get(f"{kind}_events", 0)
    bad = sample.get(f"{kind}_bad", 0)
    return f"{bad:,} of {events:,} ({bad / events:.2%})" if events else "-"


def _build_events(journal: Journal) -> str:
    rows = [
        [datetime.fromtimestamp(event["at"], UTC).strftime("%Y-%m-%d %H:%M:%S"), event["text"]]
        for event in journal.events
    ]
    return build_table("What happened, with the time in UTC", ["time", "event"], rows)


def _build_plot(journal: Journal, kind: str) -> str:
    """Return the share of bad events over time, with the limit. Each step counts from zero."""
    plan = journal.plan
    steps = {
        step: [sample for sample in samples if sample.get(f"{kind}_events")]
        for step, samples in _group_samples(journal).items()
    }
    steps = {step: samples for step, samples in steps.items() if samples}
    if not steps:
        return f"<p>{_TITLES[kind]}: no requests were observed.</p>"
    start = min(samples[0]["seconds"] for samples in steps.values())
    end = max(samples[-1]["seconds"] for samples in steps.values())
    limit = 100 * plan.limits[kind]
    return build_plot(
        Plot(
            title=_TITLES[kind],
            unit=_UNIT,
            lines=[
                Line(
                    name=f"version {plan.version}",
                    segments=[_find_points(samples, kind) for samples in steps.values()],
                )
            ],
            start=start,
            end=max(end, start + 1.0),
            axis=(f"{start:.0f} s", "time since the start", f"{max(end, start + 1.0):.0f} s"),
            limit=limit,
            marks=[
                Mark(at=samples[0]["seconds"], label=_format_step(step))
                for step, samples in steps.items()
            ],
            least_top=limit * 1.25,
        )
    )


def _find_points(samples: Sequence[Mapping[str, Any]], kind: str) -> list[tuple[float, float]]:
    """Return the points of a line, with its first and last one and at most `_LINE_POINTS`."""
    stride = max(len(samples) // _LINE_POINTS, 1)
    chosen = [*samples[:-1:stride], samples[-1]]
    return [
        (float(sample["seconds"]), 100 * sample[f"{kind}_bad"] / sample[f"{kind}_events"])
        for sample in chosen
    ]


def _format_step(step: int) -> str:
    return "shadow" if step == SHADOW_STEP else f"{step} %"
