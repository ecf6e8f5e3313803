"""`berth up`."""

import sys
from typing import TYPE_CHECKING

import click

from berth.cli.options import (
    get_command,
    json_option,
    require_yes,
    say,
    show,
    stack_option,
    yes_option,
)
from berth.project import find_project

if TYPE_CHECKING:
    from berth.platforms.stack_context import StackContext


@click.command()
@stack_option
@yes_option
@json_option
def up(name: str, yes: bool, as_json: bool) -> None:
    """Deploy the stack that its configuration file describes."""
    require_yes(yes, as_json)
    from berth.cli.stacks import (
        exit_if_skipped,
        find_skipped_parts,
        load_deployable_spec,
        open_stack_for_update,
        require_tools,
    )
    from berth.operations import lifecycle
    from berth.operations.status import summarize_stack
    from berth.platforms.stack_context import StackContext

    root = find_project()
    spec = load_deployable_spec(root, name)
    stack = open_stack_for_update(root, name, spec, to_stderr=as_json)
    stack = require_tools(stack, spec)
    parts = find_skipped_parts(spec, root)
    code = lifecycle.up(stack, yes=yes, skipped=parts)
    if code:
        context = StackContext(root=root, stack=name, spec=spec)
        for line in _explain_failure(context):
            say(line)
        sys.exit(code)
    outputs = stack.outputs()
    summary = summarize_stack(name, outputs, stack.history()[-1])
    show(
        summary,
        as_json,
        lambda: lifecycle.first_call(root, spec, outputs, stack=name, command=get_command()),
    )
    exit_if_skipped(parts, name)


def _explain_failure(context: "StackContext") -> list[str]:
    """Return the reasons of a failed update. To find none must not hide the update's error."""
    from berth.errors import OperationError
    from berth.platforms import get_platform
    from berth.spec import SpecError

    try:
        return get_platform(context.spec.platform).explain_failure(context)
    except (SpecError, OperationError) as error:
        return [f"Could not find out more: {error}"]
