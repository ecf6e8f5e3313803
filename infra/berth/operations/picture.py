"""`berth picture`: a stack drawn from what it declares, as one SVG."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from textwrap import wrap

from berth.operations.declarations import declarations
from berth.operations.picture_plan import Box, Picture, picture

_BOX, _GAP, _LEVEL_GAP, _MARGIN = 190, 18, 34, 16
_LINE, _PAD = 14, 9
_CHARACTERS, _NAME_LINES = 29, 3
_A_ROW = 5
_NO_BREAK = "\x1f"
# An arrow that passes other levels is drawn behind their boxes, and fainter.
_FAR = 120
_STYLE = """
text{font:11px system-ui,sans-serif;fill:#57606a}
.title{font-weight:600;font-size:13px;fill:#1f2328}
.names{fill:#0b5cad}
rect{fill:#f6f8fa;stroke:#8c959f}
.berth-kubernetes rect{fill:#eaf5ec;stroke:#4a9b5c}
.berth-image rect{fill:#fdf3e1;stroke:#c08a2b}
.berth-aws rect{fill:#eef4fc;stroke:#5b8ac6}
.key{fill:#8a5a00}
path{fill:none;stroke:#8c959f;stroke-width:1.2}
.far{stroke-dasharray:2 3}
@media(prefers-color-scheme:dark){
text{fill:#9198a1}.title{fill:#f0f6fc}.names{fill:#79b8ff}.key{fill:#d9a441}
rect{fill:#161b22;stroke:#656c76}
.berth-kubernetes rect{fill:#12261a;stroke:#3d8b52}
.berth-image rect{fill:#2a2111;stroke:#a87a2a}
.berth-aws rect{fill:#111d2e;stroke:#4b78b0}
path{stroke:#656c76}}
"""


def draw(name: str, file: Path) -> str:
    """The stack `name`, whose configuration is in `file`, as SVG. Neither engine nor cloud nor
    credentials are asked.

    Raises:
        OperationError: its configuration is not sound.
    """
    return svg(picture(declarations(str(file))), name)


def svg(drawn: Picture, name: str) -> str:
    """The picture as a file of its own, fit for light and dark pages."""
    places = _places(drawn)
    width = 2 * _MARGIN + _A_ROW * (_BOX + _GAP) - _GAP
    height = max(y + tall for _, y, tall in places) + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>Stack {escape(name)}: what stands on what, clients at the top</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M1 1 7 4 1 7"/></marker></defs>',
        *(_arrow(places[first], places[second]) for first, second in drawn.arrows),
        *(_drawn(box, place) for box, place in zip(drawn.boxes, places, strict=True)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


Place = tuple[int, int, int]
"""Left, top and height of a box, in pixels."""


def _places(drawn: Picture) -> list[Place]:
    """Levels from the top down, each in rows of _A_ROW boxes, what is apart at the bottom."""
    levels: dict[float, list[int]] = {}
    for index, box in enumerate(drawn.boxes):
        levels.setdefault(math.inf if box.level is None else box.level, []).append(index)
    places: dict[int, Place] = {}
    top = _MARGIN
    for level in sorted(levels):
        members = sorted(levels[level], key=lambda one: drawn.boxes[one].place)
        for start in range(0, len(members), _A_ROW):
            row = members[start : start + _A_ROW]
            left = _MARGIN + (_A_ROW - len(row)) * (_BOX + _GAP) // 2
            tall = [_PAD * 2 + _LINE * len(_lines(drawn.boxes[index])) for index in row]
            for column, index in enumerate(row):
                places[index] = (left + column * (_BOX + _GAP), top, tall[column])
            top += max(tall) + (_LEVEL_GAP if start + _A_ROW >= len(members) else _GAP)
    return [places[index] for index in range(len(drawn.boxes))]


def _lines(box: Box) -> list[tuple[str, str]]:
    """(class, text) of each line in a box."""
    many = f" \u00d7 {len(box.names)}" if len(box.names) > 1 else ""
    names = _wrapped(", ", box.names)
    if len(names) > _NAME_LINES:
        names = [*names[: _NAME_LINES - 1], f"and more: {len(box.names)} in all"]
    return [
        ("title", box.title + many),
        *(("names", line) for line in names),
        *(("", line) for line in _wrapped(", ", box.holds)),
        *(("key", line) for line in _wrapped(", ", [f"key {key}" for key in box.keys])),
    ]


def _wrapped(between: str, entries: Sequence[str]) -> list[str]:
    """Lines of whole entries."""
    kept = between.join(entry.replace(" ", _NO_BREAK) for entry in entries)
    lines = wrap(kept, _CHARACTERS, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_NO_BREAK, " ") for line in lines]


def _drawn(box: Box, place: Place) -> str:
    left, top, tall = place
    module = "-".join(box.type.split(":")[:2])
    lines = [
        f'<text class="{kind}" x="{left + _PAD}" y="{top + _PAD + _LINE * (row + 1) - 4}">'
        f"{escape(text)}</text>"
        for row, (kind, text) in enumerate(_lines(box))
    ]
    rect = f'<rect x="{left}" y="{top}" width="{_BOX}" height="{tall}" rx="6"/>'
    return f'<g class="{escape(module)}">{rect}{"".join(lines)}</g>'


def _arrow(first: Place, second: Place) -> str:
    x1, y1 = first[0] + _BOX // 2, first[1] + first[2]
    x2, y2 = second[0] + _BOX // 2, second[1]
    bend = min(max((y2 - y1) // 2, _LEVEL_GAP), 3 * _LEVEL_GAP)
    far = ' class="far"' if y2 - y1 > _FAR else ""
    return (
        f'<path{far} d="M{x1} {y1}C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2 - 2}" '
        'marker-end="url(#tip)"/>'
    )
