"""A report as Markdown for a comment in a pull request.

Its bytes depend only on the report: no times, and everything is sorted. A comment has a maximum
length, so the rows of the least important sections are left out first, and counted.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from berth.operations.cost_changes import CostReport
from berth.operations.prediction_diff import PredictionDiff
from berth.operations.report import Report
from berth.operations.resource_changes import Operation, ResourceChange
from berth.operations.undo import Undo

MAX_CHARACTERS = 65_536
"""Maximum length of a comment on GitHub: https://github.com/dead-claudia/github-limits."""

_ROW_CHARACTERS = 600
_SHOWN_PROPERTIES = 8
_OPERATIONS = (Operation.DELETE, Operation.REPLACE, Operation.UPDATE, Operation.CREATE)


@dataclass(frozen=True, kw_only=True)
class _Section:
    """A heading, the lines above the rows, and the rows. The rows can be cut.

    Attributes:
        importance: Rows of sections with a higher number are left out first.
    """

    importance: int
    title: str
    rows: Sequence[str]
    head: Sequence[str] = ()


def get_marker(stack: str) -> str:
    """Return the hidden comment by which a workflow finds the report of a stack again."""
    return f"<!-- berth preview {stack} -->"


def format_markdown(report: Report, *, limit: int = MAX_CHARACTERS) -> str:
    """Return the report as Markdown of at most `limit` characters.

    Args:
        limit: At least a few thousand, for the headings.
    """
    top = [
        get_marker(report.stack),
        f"## Stack {_code(report.stack)}: {report.format_counts()}",
        "",
        *_describe_undo(report),
    ]
    sections = [section for section in _list_sections(report) if section.rows]
    frame = "\n".join(top) + "".join(_format_section(section, 0) for section in sections)
    budget = limit - len(frame) - 1
    shown: dict[str, int] = {}
    for section in sorted(sections, key=lambda section: section.importance):
        shown[section.title] = 0
        for row in section.rows:
            if len(row) + 1 > budget:
                # No row of a less important section may take the place of this one.
                budget = 0
                break
            budget -= len(row) + 1
            shown[section.title] += 1
    body = "".join(_format_section(section, shown[section.title]) for section in sections)
    return "\n".join(top) + body + "\n"


def _format_section(section: _Section, count: int) -> str:
    rows = section.rows[:count]
    left_out = len(section.rows) - count
    note = ["", f"{left_out} more lines are left out; see `berth preview --json`."]
    lines = ["", "", f"### {section.title}", "", *section.head, *rows, *(note if left_out else ())]
    return "\n".join(lines)


def _describe_undo(report: Report) -> Iterator[str]:
    facts, worst = report.facts, report.worst
    if not report.changes:
        return
    if facts.release is None:
        yield (
            "**Can this be undone?** No update has succeeded yet. "
            f"`berth destroy -s {report.stack}` removes everything."
        )
        return
    target = f"`berth rollback -s {report.stack} --to {facts.release}`"
    match worst.undo:
        case Undo.YES:
            yield f"**Can this be undone?** Yes: {target} restores everything."
        case Undo.KEPT:
            yield f"**Can this be undone?** Yes: {target} restores everything except for clients."
        case _:
            count = sum(verdict.undo is worst.undo for verdict in report.verdicts.values())
            yield (
                f"**Can this be undone?** {worst.undo.value.capitalize()}, for {count} of "
                f"{len(report.changes)} resources. {target}: {_text(worst.reason)}."
            )


def _list_sections(report: Report) -> Iterator[_Section]:
    """Yield the sections in the order in which they are shown."""
    summary = report.summary
    yield _Section(
        importance=0,
        title="Errors",
        rows=[f"- {_code(error)}" for error in summary["errors"]],
    )
    yield _Section(
        importance=1,
        title="Deleted or replaced resources that keep data",
        head=_head("component", "resource", "operation", "what is lost"),
        rows=[_format_stateful(report, change) for change in report.stateful],
    )
    yield _Section(
        importance=2,
        title="Policy",
        head=_head("level", "resource", "violation"),
        rows=sorted(
            _row(_text(x["level"]), _code(x["urn"].rpartition("::")[2]), _code(x["message"]))
            for x in summary["policies"]
        ),
    )
    yield _Section(
        importance=3,
        title="Traffic",
        head=_head("model", "version", "before", "after"),
        rows=[
            _row(_code(x.model), _code(x.version), _text(x.before), _mark(x.before, x.after))
            for x in report.traffic
        ],
    )
    yield from _list_predictions(report.predictions)
    yield from _list_cost(report.cost)
    yield _Section(
        importance=5,
        title="Configuration",
        head=_head("key", "before", "after"),
        rows=[_row(_code(x.path), _code(x.before), _code(x.after)) for x in report.configuration],
    )
    yield _Section(
        importance=6,
        title="Changes",
        head=_head("component", "resource", "operation", "properties", "undo"),
        rows=[
            _format_change(report, change)
            for operation in _OPERATIONS
            for change in report.changes
            if change.operation is operation
        ],
    )
    yield _Section(
        importance=7,
        title="A rollback keeps",
        rows=[
            f"- {_text(line)}"
            for line in (*report.facts.kept_clients, *report.facts.kept_signatures)
        ],
    )
    yield _Section(
        importance=8,
        title="Drift: `berth up` restores these",
        rows=[f"- {_code(line)}" for line in report.drift],
    )
    differences = (report.parity or {}).get("differences", [])
    yield _Section(
        importance=9,
        title=f"Parity with {_code((report.parity or {}).get('first', ''))}",
        head=_head("resource", "property", "there", "here"),
        rows=[
            _row(_code(x["name"]), _code(x["key"]), _code(x["first"]), _code(x["second"]))
            for x in differences
        ],
    )


def _list_predictions(diffs: Sequence[PredictionDiff]) -> Iterator[_Section]:
    for diff in diffs:
        title = f"Predictions of {_code(diff.model)}: {_code(diff.before)} to {_code(diff.after)}"
        metrics = [
            f"- {_text(name)}: {_number(values[0])}, then {_number(values[1])}"
            for name, values in (diff.metrics or {}).items()
        ]
        if diff.problem:
            rows = [f"Not compared: {_code(diff.problem)}", "", *metrics]
            yield _Section(importance=4, title=title, rows=rows)
            continue
        low, high = (100 * share for share in diff.interval)
        rows = [
            f"**{diff.changed} of {diff.rows} answers change** "
            f"({_number(100 * diff.changed / diff.rows)}%; {low:.1f}% to {high:.1f}% of rows like "
            f"these, with 95% confidence). Rows: {_text(diff.source)}.",
            "",
            *metrics,
            *(
                f"- {_code(output.name)}: differs in {output.rows} rows"
                + ("" if output.largest is None else f", by at most {_number(output.largest)}")
                for output in diff.outputs
            ),
            *(
                f"- row {row.row}: {_code(row.before)}, then {_code(row.after)} "
                f"(difference {_number(row.difference)})"
                for row in diff.most_changed
            ),
        ]
        yield _Section(importance=4, title=title, rows=rows)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _list_cost(cost: CostReport | None) -> Iterator[_Section]:
    if cost is None:
        return
    if cost.before is None or cost.after is None:
        yield _Section(importance=4, title="Monthly cost", rows=[f"Unknown: {_code(cost.problem)}"])
        return
    change = cost.after - cost.before
    percent = f", {cost.percent:+.1f}%" if cost.before and cost.percent is not None else ""
    total = _row("**total**", f"{cost.before:,.2f}", f"**{cost.after:,.2f}**", f"{change:+,.2f}")
    yield _Section(
        importance=4,
        title=f"Monthly cost: {change:+,.2f} USD{percent}",
        head=_head("item", "before", "after", "USD"),
        rows=[
            total,
            *(
                _row(
                    _text(f"{line.service}: {line.item}"),
                    f"{line.before:,.2f}",
                    f"{line.after:,.2f}",
                    f"{line.after - line.before:+,.2f}",
                )
                for line in cost.lines
            ),
        ],
    )


def _format_stateful(report: Report, change: ResourceChange) -> str:
    data = report.get_lost_data(change)
    return _row(
        _code(change.component),
        _code(str(change)),
        f"**{change.operation.value}**",
        _text(data.loss if data else ""),
    )


def _format_change(report: Report, change: ResourceChange) -> str:
    shown = [_code(path) for path in change.properties[:_SHOWN_PROPERTIES]]
    more = len(change.properties) - len(shown)
    return _row(
        _code(change.component),
        _code(str(change)),
        change.operation.value,
        ", ".join(shown) + (f" and {more} more" if more else ""),
        _text(str(report.verdicts[change.urn])),
    )


def _head(*cells: str) -> list[str]:
    return [_row(*cells), "|" + "---|" * len(cells)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _mark(before: str, after: str) -> str:
    return f"**{_text(after)}**" if before != after else _text(after)


def _code(value: str | None) -> str:
    """Return text as Markdown code in a table cell: nothing in it is a link, a name or HTML."""
    text = _shorten(" ".join((value or "").split()))
    if not text:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text.replace('|', chr(92) + '|')}{space}{fence}"


def _text(value: str) -> str:
    """Return a sentence of Berth's own in a table cell, with what Markdown would read escaped."""
    text = _shorten(" ".join(value.split()))
    return re.sub(r"([\\`*_{}\[\]<>|#@])", r"\\\1", text)


def _shorten(text: str) -> str:
    return text if len(text) <= _ROW_CHARACTERS else f"{text[: _ROW_CHARACTERS - 1]}…"
