"""`berth preview`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.options import json_option, say, stack_option
from berth.project import find_project

if TYPE_CHECKING:
    from berth.operations.fail_on import Conditions
    from berth.operations.report import Report
    from berth.spec import HostingSpec


def _parse_conditions(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> "Conditions | None":
    from berth.operations.fail_on import FailOnError, parse_conditions

    try:
        return None if text is None else parse_conditions(text)
    except FailOnError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@stack_option
@click.option(
    "--expect-no-changes", is_flag=True, help="Exit with status 1 if anything would change."
)
@click.option("--markdown", is_flag=True, help="Print a report for a pull request.")
@click.option(
    "--fail-on",
    "conditions",
    callback=_parse_conditions,
    metavar="LIST",
    help="Exit with status 1 for any of: replace, delete, irreversible, cost+N%.",
)
@click.option(
    "--rows",
    "row_files",
    multiple=True,
    metavar="[MODEL=]FILE",
    help="Rows (.npy or .npz) to compare the predictions of versions on. Repeatable.",
)
@json_option
def preview(
    name: str,
    expect_no_changes: bool,
    markdown: bool,
    conditions: "Conditions | None",
    row_files: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what 'up' would change.

    Exit with status 1 if the stack differs from the stack in 'parity.stack'.
    """
    if markdown and as_json:
        raise click.UsageError("--markdown cannot be combined with --json. Choose one of them.")
    from berth.cli.lost_parts import require_no_lost_parts
    from berth.cli.stacks import (
        find_skipped_parts,
        get_refresh_options,
        load_deployable_spec,
        open_program,
        open_stack_for_update,
        report_drift,
    )
    from berth.operations.lifecycle import exclude
    from berth.platforms.stack_context import StackContext

    root = find_project()
    spec = load_deployable_spec(root, name)
    has_report = markdown or as_json or conditions is not None or bool(row_files)
    stack = open_stack_for_update(root, name, spec, to_stderr=has_report)
    stack.create()
    options = ["--expect-no-changes"] if expect_no_changes else []
    context = StackContext(root=root, stack=name, spec=spec)
    require_no_lost_parts(stack, context)
    parts = find_skipped_parts(spec, root)
    stack = open_program(stack, parts)
    drift = report_drift(stack, context, parts, is_required=expect_no_changes)
    arguments = [*exclude(parts), *get_refresh_options(context, has_drifted=bool(drift))]
    report = None
    if has_report:
        from berth.operations.prediction_runs import match_rows
        from berth.operations.review import review

        code, report = review(
            stack,
            context,
            arguments=arguments,
            options=options,
            drift=drift,
            check=lambda path: load_deployable_spec(root, name, path, warns=False),
            rows=match_rows(row_files, list(spec.models)),
        )
    else:
        code = stack.preview(*options, *arguments)
    comparison = _compare_stacks(root, spec, name)
    matches = []
    if report is not None:
        matches = _show_report(report, comparison, conditions, markdown=markdown, as_json=as_json)
    if (expect_no_changes and drift) or matches:
        code = 1
    sys.exit(code or (0 if comparison is None or comparison["parity"] else 1))


def _show_report(
    report: "Report",
    comparison: dict[str, Any] | None,
    conditions: "Conditions | None",
    *,
    markdown: bool,
    as_json: bool,
) -> list[str]:
    """Print the report, and return what `--fail-on` matched in it."""
    from dataclasses import replace

    from berth.operations import report as reports
    from berth.operations.fail_on import find_matches
    from berth.operations.report_markdown import format_markdown

    report = replace(report, parity=comparison)
    if as_json:
        click.echo(json.dumps(reports.as_json(report), indent=2))
    else:
        click.echo(format_markdown(report), nl=False)
    for error in report.summary["errors"] if markdown or as_json else ():
        say(error)
    matches = find_matches(report, conditions) if conditions else []
    for line in matches:
        say(line)
    return matches


def _compare_stacks(root: Path, spec: "HostingSpec", name: str) -> dict[str, Any] | None:
    """Compare the stack with `parity.stack` and report the result, or return None without one."""
    from berth.operations import parity

    other = spec.parity.stack
    if other is None:
        return None
    differences = parity.compare_stacks(root, other, name)
    say(f"parity: {parity.format_text(other, name, differences)}")
    return parity.as_json(other, name, differences)
