"""Tables as HTML."""

import html
from collections.abc import Sequence

# A column of times or names stays on one line. The others are wrapped.
_SHORT_CHARACTERS = 20


def build_table(
    caption: str,
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: int = 0,
    headers: int = 1,
) -> str:
    """Return a table whose titles and row names are headers for screen readers.

    Args:
        caption: Its caption.
        titles: Titles of the columns.
        rows: Cells as text.
        numbers: How many of the last columns are numbers.
        headers: How many of the first cells of a row name it.
    """
    first = len(titles) - numbers
    is_short = [max(map(len, column)) <= _SHORT_CHARACTERS for column in zip(*rows, strict=True)]

    def build_cell(index: int, cell: str, scope: str) -> str:
        kind = ' class="number"' if index >= first else ""
        if not kind and scope == "row" and is_short[index]:
            kind = ' class="short"'
        if scope == "col" or index < headers:
            return f'<th scope="{scope}"{kind}>{html.escape(cell)}</th>'
        return f"<td{kind}>{html.escape(cell)}</td>"

    def build_row(cells: Sequence[str], scope: str) -> str:
        return "".join(build_cell(index, cell, scope) for index, cell in enumerate(cells))

    body = "\n".join(f"<tr>{build_row(row, 'row')}</tr>" for row in rows)
    return (
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{build_row(titles, 'col')}"
        f"</tr></thead><tbody>\n{body}\n</tbody></table>"
    )


def build_scroll_region(label: str, content: str) -> str:
    """Return content in a region that a keyboard can scroll on a narrow screen."""
    return (
        f'<div class="scroll" role="region" aria-label="{html.escape(label)}" tabindex="0">'
        f"{content}</div>"
    )


def build_list(lines: Sequence[str]) -> str:
    """Return lines as a list."""
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"
