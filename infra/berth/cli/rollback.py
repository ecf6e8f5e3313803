"""`berth rollback`."""

import sys
from pathlib import Path

import click

from berth.cli.options import json_option, require_yes, say, show, stack_option, yes_option
from berth.project import find_project


@click.command()
@stack_option
@click.option(
    "--to",
    "number",
    type=int,
    help="Number of the update. Defaults to the latest one with another configuration.",
)
@click.option("--with-program", is_flag=True, help="Also run the program of that update's commit.")
@yes_option
@json_option
def rollback(name: str, number: int | None, with_program: bool, yes: bool, as_json: bool) -> None:
    """Roll back to an earlier successful update. Adds a new update to the history."""
    require_yes(yes, as_json)
    root = find_project()
    from berth.cli.stacks import (
        exit_not_serving,
        explain_failure,
        load_current_or_recorded_spec,
        load_deployable_spec,
        open_stack,
        require_serving,
    )
    from berth.engine import ensure_providers
    from berth.errors import OperationError
    from berth.operations import rollback as operation
    from berth.operations.rollback_keys import describe_kept_keys
    from berth.operations.serving_check import find_failed, request_examples
    from berth.operations.status import summarize_stack
    from berth.platforms import get_platform
    from berth.platforms.stack_context import StackContext

    stack = open_stack(root, name, to_stderr=as_json)
    if not stack.exists():
        raise OperationError(f"Stack '{name}' was never deployed. Run 'berth up -s {name}'.")
    update = operation.choose_update(stack.history(show_secrets=True), number)
    program = operation.find_program(root, update, with_program=with_program, say=say)
    say(f"Rolling back to update {update.number} of {update.ended}.")
    for line in describe_kept_keys(stack.config(), update):
        say(line)

    def check(path: Path) -> None:
        spec = load_deployable_spec(root, name, path)
        ensure_providers(get_platform(spec.platform), stack.environment, say)

    code = operation.rollback(
        stack,
        update,
        program=program,
        check=check,
        confirm=lambda: yes or click.confirm("Perform this rollback?", err=True),
    )
    spec = load_current_or_recorded_spec(root, name)
    context = StackContext(root=root, stack=name, spec=spec)
    if code:
        explain_failure(context)
        sys.exit(code)
    outputs = stack.outputs()
    require_serving(stack, context, outputs)
    if failed := find_failed(request_examples(root, name, spec, outputs)):
        exit_not_serving(stack, context, failed)
    summary = summarize_stack(name, outputs, stack.latest_update())
    show(
        {"rolled_back_to": update.number, **summary},
        as_json,
        lambda: (
            f"{stack.config_file.name} has the configuration of update {update.number}. Commit it."
        ),
    )
