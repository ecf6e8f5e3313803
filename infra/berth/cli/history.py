"""`berth history`."""

import click

from berth.cli.options import json_option, say, show, stack_option
from berth.project import find_project


@click.command()
@stack_option
@json_option
def history(name: str, as_json: bool) -> None:
    """List the stack's updates, and what each of them changed in the configuration."""
    root = find_project()
    from berth.cli.stacks import open_stack
    from berth.cli.unfinished_rollouts import report_unfinished_rollouts
    from berth.operations import history as operation
    from berth.operations.engine_lock import describe_locks
    from berth.operations.previous_release import read_completeness

    stack = open_stack(root, name)
    stack.require_deployed()
    releases = operation.list_releases(stack.history(show_secrets=True))
    for line in describe_locks(root, name):
        say(line)
    report_unfinished_rollouts(root, name)
    completeness = read_completeness(stack.tags())
    show(
        operation.as_json(releases, completeness),
        as_json,
        lambda: operation.format_text(releases, completeness),
    )
