"""`berth up`."""

import sys
from dataclasses import replace

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


@click.command()
@stack_option
@yes_option
@click.option(
    "--no-request",
    is_flag=True,
    help="Send no request at the end, for a machine that cannot reach the endpoint.",
)
@json_option
def up(name: str, yes: bool, no_request: bool, as_json: bool) -> None:
    """Deploy the stack that its configuration file describes.

    Exit with status 1 if something is not ready at the end, or a model does not answer.
    """
    require_yes(yes, as_json)
    from berth.cli.stacks import (
        exit_if_skipped,
        exit_not_serving,
        explain_failure,
        find_skipped_parts,
        get_refresh_options,
        load_deployable_spec,
        open_stack_for_update,
        report_drift,
        require_preflight,
        require_serving,
        run_update,
    )
    from berth.operations import lifecycle
    from berth.operations.serving_check import find_failed, request_examples
    from berth.operations.status import summarize_stack
    from berth.platforms import get_platform
    from berth.platforms.stack_context import StackContext

    root = find_project()
    spec = load_deployable_spec(root, name)
    context = StackContext(root=root, stack=name, spec=spec)
    require_preflight(context)
    stack = open_stack_for_update(root, name, spec, to_stderr=as_json)
    parts = find_skipped_parts(spec, root)
    has_drifted = bool(report_drift(stack, context, parts))
    stack = replace(stack, find_hopeless=get_platform(spec.platform).watch_update(context))
    options = get_refresh_options(context, has_drifted=has_drifted)
    for line in get_platform(spec.platform).prepare_update(context):
        say(line)
    code = run_update(
        stack,
        context,
        lambda is_again: lifecycle.up(stack, *options, yes=yes or is_again, skipped=parts),
        has_drifted=has_drifted,
    )
    if code:
        explain_failure(context)
        sys.exit(code)
    outputs = stack.outputs()
    require_serving(stack, context, outputs)
    responses = {} if no_request else request_examples(root, name, spec, outputs)
    if failed := find_failed(responses):
        exit_not_serving(stack, context, failed)
    show(
        summarize_stack(name, outputs, stack.latest_update()),
        as_json,
        lambda: lifecycle.format_first_call(outputs, responses, stack=name, command=get_command()),
    )
    exit_if_skipped(parts, name)
