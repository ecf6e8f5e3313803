"""Plots of lines over time as HTML and SVG, without scripts and without inline styles.

The text is HTML, so that it keeps its size on a narrow screen, and the lines are an SVG that is
stretched to the available width.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 1000, 200
# Each line has its own color and its own dashes; see `base.css`.
LINE_STYLES = 5
# Labels of spans that are closer than this share of the width would overlap on a narrow screen.
_LABEL_DISTANCE = 0.2
_DESCRIBED_LINES = 6


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a plot.

    Attributes:
        name: Its name in the legend.
        segments: Points of horizontal and vertical position. A gap separates two segments.
    """

    name: str
    segments: Sequence[Sequence[tuple[float, float]]]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A vertical line at a horizontal position, where a span begins.

    Attributes:
        at: The position.
        label: Name of the span, which is shown if there is room.
    """

    at: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Unit:
    """How values of the vertical axis are written.

    Attributes:
        name: Its name, such as `requests per second`.
        decimals: Number of digits after the decimal point.
        suffix: What follows each number, such as ` %`.
    """

    name: str
    decimals: int = 0
    suffix: str = ""

    def format(self, value: float) -> str:
        """Return a value with its suffix."""
        return f"{value:,.{self.decimals}f}{self.suffix}"


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot of lines over time.

    Attributes:
        title: What it shows.
        unit: Unit of the vertical axis.
        lines: The lines.
        start: Left end of the horizontal axis.
        end: Right end of the horizontal axis.
        axis: Labels of the two ends of the horizontal axis, and its title between them.
        limit: Value of a horizontal line, or None.
        marks: Vertical lines.
        least_top: Lowest upper end of the vertical axis.
    """

    title: str
    unit: Unit
    lines: Sequence[Line]
    start: float
    end: float
    axis: tuple[str, str, str]
    limit: float | None = None
    marks: Sequence[Mark] = ()
    least_top: float = 1.0


def build_plot(plot: Plot) -> str:
    """Return the plot as a figure. Its picture has a description for readers who cannot see it."""
    values = [y for line in plot.lines for segment in line.segments for _, y in segment]
    top = round_up(max([plot.least_top, *values, *([plot.limit * 1.25] if plot.limit else [])]))
    unit = html.escape(plot.unit.name)
    ticks = "".join(f"<span>{plot.unit.format(top * part / 2)}</span>" for part in (2, 1, 0))
    return (
        f'<figure class="plot"><figcaption>{html.escape(plot.title)} '
        f'<span class="unit">({unit})</span></figcaption>'
        f'<div class="frame"><div class="ticks" aria-hidden="true">{ticks}</div>'
        f"{_build_picture(plot, top)}{_build_axis(plot)}</div>{_build_legend(plot)}</figure>"
    )


def round_up(value: float) -> float:
    """Return the next number of the form 1, 2 or 5 times a power of ten, or 4 or 8 of them.

    All have a half that is short to write.
    """
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 8, 10, 20) if step * power >= value * 0.999)


def _scale(plot: Plot, at: float) -> float:
    """Return a horizontal position as a share of the width."""
    return (at - plot.start) / max(plot.end - plot.start, 1e-9)


def _build_picture(plot: Plot, top: float) -> str:
    def y(value: float) -> str:
        return f"{(1 - value / top) * _HEIGHT:.1f}"

    def points(segment: Sequence[tuple[float, float]]) -> str:
        drawn = list(segment) if len(segment) > 1 else [*segment, *segment]
        return " ".join(f"{_scale(plot, x) * _WIDTH:.1f},{y(value)}" for x, value in drawn)

    grid = "".join(
        f'<line class="grid" x1="0" x2="{_WIDTH}" y1="{y(value)}" y2="{y(value)}"/>'
        for value in (0.0, top / 2, top)
    )
    marks = "".join(
        f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{_HEIGHT}"/>'
        for x in (f"{_scale(plot, mark.at) * _WIDTH:.1f}" for mark in plot.marks)
    )
    limit = (
        ""
        if plot.limit is None
        else f'<line class="limit" x1="0" x2="{_WIDTH}" y1="{y(plot.limit)}" y2="{y(plot.limit)}"/>'
    )
    lines = "".join(
        f'<polyline class="line line-{index % LINE_STYLES + 1}'
        f'{" dot" if len(segment) == 1 else ""}" points="{points(segment)}"/>'
        for index, line in enumerate(plot.lines)
        for segment in line.segments
        if segment
    )
    return (
        f'<svg class="picture" role="img" aria-label="{html.escape(describe_plot(plot))}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none">'
        f"{grid}{marks}{limit}{lines}</svg>"
    )


def _build_axis(plot: Plot) -> str:
    """Return the labels of the horizontal axis. The description names them as well."""
    first, title, last = plot.axis
    ends = "".join(f"<span>{html.escape(text)}</span>" for text in (first, title, last))
    texts = "".join(
        f'<text x="{center:.1%}" y="1.3em" text-anchor="middle">{html.escape(label)}</text>'
        for center, label in _place_labels(plot)
    )
    labels = f'<svg class="labels" aria-hidden="true">{texts}</svg>' if texts else ""
    return f'{labels}<div class="axis" aria-hidden="true">{ends}</div>'


def _place_labels(plot: Plot) -> list[tuple[float, str]]:
    """Return the centers of the labels that have room, those of long spans first."""
    starts = [_scale(plot, mark.at) for mark in plot.marks]
    spans = zip(starts, [*starts, 1.0][1:], plot.marks, strict=True)
    margin = _LABEL_DISTANCE / 2
    placed: list[tuple[float, str]] = []
    for start, end, mark in sorted(spans, key=lambda span: span[0] - span[1]):
        center = min(max((start + end) / 2, margin), 1 - margin)
        if all(abs(center - other) >= _LABEL_DISTANCE for other, _ in placed):
            placed.append((center, mark.label))
    return placed


def _build_legend(plot: Plot) -> str:
    def item(style: str, text: str) -> str:
        return (
            '<li><svg class="sample" aria-hidden="true" viewBox="0 0 40 10">'
            f'<line class="{style}" x1="0" x2="40" y1="5" y2="5"/></svg>{html.escape(text)}</li>'
        )

    items = [
        item(f"line line-{index % LINE_STYLES + 1}", line.name)
        for index, line in enumerate(plot.lines)
    ]
    if plot.limit is not None:
        items.append(item("limit", f"limit, {plot.unit.format(plot.limit)}"))
    return f'<ul class="legend">{"".join(items)}</ul>'


def describe_plot(plot: Plot) -> str:
    """Return what a plot shows as text: the last and the highest value of each line."""
    parts = [f"{plot.title}, {plot.unit.name}, from {plot.axis[0]} to {plot.axis[2]}."]
    for line in plot.lines[:_DESCRIBED_LINES]:
        values = [y for segment in line.segments for _, y in segment]
        if values:
            parts.append(
                f"{line.name}: last {plot.unit.format(values[-1])}, "
                f"highest {plot.unit.format(max(values))}."
            )
        else:
            parts.append(f"{line.name}: no values.")
    if len(plot.lines) > _DESCRIBED_LINES:
        parts.append(f"{len(plot.lines) - _DESCRIBED_LINES} more lines.")
    if plot.limit is not None:
        parts.append(f"The limit is {plot.unit.format(plot.limit)}.")
    return " ".join(parts)
