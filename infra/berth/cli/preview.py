"""`berth preview`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.options import json_option, say, stack_option
from berth.project import find_project

if TYPE_CHECKING:
    from berth.spec import HostingSpec


@click.command()
@stack_option
@click.option(
    "--expect-no-changes", is_flag=True, help="Exit with status 1 if anything would change."
)
@json_option
def preview(name: str, expect_no_changes: bool, as_json: bool) -> None:
    """Show what 'up' would change.

    Exit with status 1 if the stack differs from the stack in 'parity.stack'.
    """
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
    stack = open_stack_for_update(root, name, spec)
    stack.create()
    arguments = ["--expect-no-changes"] if expect_no_changes else []
    context = StackContext(root=root, stack=name, spec=spec)
    require_no_lost_parts(stack, context)
    parts = find_skipped_parts(spec, root)
    arguments += exclude(parts)
    stack = open_program(stack, parts)
    has_drifted = report_drift(stack, context, parts, is_required=expect_no_changes)
    arguments += get_refresh_options(context, has_drifted=has_drifted)
    if as_json:
        code, document = stack.preview_json(*arguments)
    else:
        code, document = stack.preview(*arguments), {}
    comparison = _report_differences(root, spec, name)
    if as_json:
        click.echo(json.dumps(document | ({"parity": comparison} if comparison else {}), indent=2))
    if expect_no_changes and has_drifted:
        code = 1
    sys.exit(code or (0 if comparison is None or comparison["parity"] else 1))


def _report_differences(root: Path, spec: "HostingSpec", name: str) -> dict[str, Any] | None:
    """Compare the stack with `parity.stack` and report the result, or return None without one."""
    from berth.operations import parity

    other = spec.parity.stack
    if other is None:
        return None
    differences = parity.compare_stacks(root, other, name)
    say(f"parity: {parity.format_text(other, name, differences)}")
    return parity.as_json(other, name, differences)
