"""`berth destroy`."""

import json
import sys
from typing import TYPE_CHECKING

import click

from berth.cli.options import json_option, require_yes, say, stack_option, yes_option
from berth.project import find_project

if TYPE_CHECKING:
    from berth.platforms.stack_context import StackContext


@click.command()
@stack_option
@yes_option
@json_option
def destroy(name: str, yes: bool, as_json: bool) -> None:
    """Delete the stack's resources. Its history and configuration are kept."""
    require_yes(yes, as_json)
    root = find_project()
    from berth.cli.stacks import load_spec
    from berth.cli.unfinished_rollouts import (
        report_unfinished_rollouts,
        require_no_running_rollout,
    )
    from berth.operations.state_file import is_never_deployed
    from berth.platforms.stack_context import StackContext

    context = StackContext(root=root, stack=name, spec=load_spec(root, name))
    require_no_running_rollout(root, name)
    report_unfinished_rollouts(
        root,
        name,
        "The record of the rollout is kept: after the next 'berth up', the same commands work.",
    )
    if is_never_deployed(root, name):
        say(f"Stack '{name}' was never deployed, so there is nothing to delete.")
        code = 0
    else:
        code = _destroy(context, yes=yes, to_stderr=as_json)
    if code == 0 and as_json:
        click.echo(json.dumps({"stack": name, "result": "destroyed"}))
    sys.exit(code)


def _destroy(context: "StackContext", *, yes: bool, to_stderr: bool) -> int:
    """Delete the resources of a deployed stack, and return the exit status of the engine."""
    from berth.cli.lost_parts import find_lost_parts
    from berth.cli.stacks import exit_if_skipped, find_skipped_parts, open_stack_for_update
    from berth.operations import lifecycle
    from berth.operations.preflight import check_ownership

    check_ownership(context, for_removal=True)
    stack = open_stack_for_update(context.root, context.stack, context.spec, to_stderr=to_stderr)
    lost = find_lost_parts(stack, context)
    for part in lost:
        say(f"Skipping {part.name}: {part.reason}")
    parts = [*find_skipped_parts(context.spec, context.root), *lost]
    code = lifecycle.destroy(stack, yes=yes, skipped=parts)
    if code == 0:
        exit_if_skipped(parts, context.stack)
    return code
