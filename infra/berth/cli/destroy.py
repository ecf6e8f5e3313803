"""`berth destroy`."""

import json
import sys

import click

from berth.cli.options import json_option, require_yes, say, stack_option, yes_option
from berth.project import find_project


@click.command()
@stack_option
@yes_option
@json_option
def destroy(name: str, yes: bool, as_json: bool) -> None:
    """Delete the stack's resources. Its history and configuration are kept."""
    require_yes(yes, as_json)
    root = find_project()
    from berth.cli.lost_parts import find_lost_parts
    from berth.cli.stacks import (
        exit_if_skipped,
        find_skipped_parts,
        load_spec,
        open_stack_for_update,
    )
    from berth.cli.unfinished_rollouts import (
        report_unfinished_rollouts,
        require_no_running_rollout,
    )
    from berth.operations import lifecycle
    from berth.operations.preflight import check_ownership
    from berth.operations.state_file import is_never_deployed
    from berth.platforms.stack_context import StackContext

    spec = load_spec(root, name)
    context = StackContext(root=root, stack=name, spec=spec)
    require_no_running_rollout(root, name)
    report_unfinished_rollouts(
        root,
        name,
        "The record of the rollout is kept: after the next 'berth up', the same commands work.",
    )
    if is_never_deployed(root, name):
        say(f"Stack '{name}' was never deployed, so there is nothing to delete.")
        if as_json:
            click.echo(json.dumps({"stack": name, "result": "destroyed"}))
        return
    check_ownership(context, for_removal=True)
    stack = open_stack_for_update(root, name, spec, to_stderr=as_json)
    lost = find_lost_parts(stack, context)
    for part in lost:
        say(f"Skipping {part.name}: {part.reason}")
    parts = [*find_skipped_parts(spec, root), *lost]
    code = lifecycle.destroy(stack, yes=yes, skipped=parts)
    if code == 0:
        exit_if_skipped(parts, name)
    if code == 0 and as_json:
        click.echo(json.dumps({"stack": name, "result": "destroyed"}))
    sys.exit(code)
