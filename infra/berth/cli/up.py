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
@click.option(
    "--forget",
    "forgotten",
    multiple=True,
    metavar="HOST",
    help="Forget a host that was removed from the specification and never returns.",
)
@json_option
def up(name: str, yes: bool, no_request: bool, forgotten: tuple[str, ...], as_json: bool) -> None:
    """Deploy the stack that its configuration file describes.

    Exit with status 1 if something is not ready at the end, or a model does not answer.
    """
    require_yes(yes, as_json)
    from berth.cli.lost_parts import require_no_lost_parts
    from berth.cli.stacks import (
        exit_if_skipped,
        explain_failure,
        find_skipped_parts,
        get_refresh_options,
        load_deployable_spec,
        open_program,
        open_stack_for_update,
        report_drift,
        report_failed,
        require_preflight,
        require_serving,
        run_update,
    )
    from berth.cli.unfinished_rollouts import report_unfinished_rollouts
    from berth.operations import lifecycle
    from berth.operations.previous_release import record_completeness
    from berth.operations.serving_check import find_failed, request_examples
    from berth.operations.status import summarize_stack
    from berth.platforms import get_platform
    from berth.platforms.stack_context import StackContext

    root = find_project()
    spec = load_deployable_spec(root, name)
    context = StackContext(root=root, stack=name, spec=spec)
    report_unfinished_rollouts(
        root,
        name,
        f"This update deploys the traffic in Pulumi.{name}.yaml, and does not end the rollout.",
    )
    parts = find_skipped_parts(spec, root)
    require_preflight(context, parts)
    stack = open_stack_for_update(root, name, spec, to_stderr=as_json)
    require_no_lost_parts(stack, context, forget=forgotten)
    has_drifted = bool(report_drift(stack, context, parts))
    stack = open_program(stack, parts)
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
    record_completeness(stack, say)
    if code:
        explain_failure(context)
        sys.exit(code)
    outputs = stack.outputs()
    require_serving(stack, context, outputs, parts)
    responses = {} if no_request else request_examples(root, name, spec, outputs)
    report_failed(stack, context, find_failed(responses), parts)
    show(
        summarize_stack(name, outputs, stack.latest_update()),
        as_json,
        lambda: lifecycle.format_first_call(outputs, responses, stack=name, command=get_command()),
    )
    exit_if_skipped(parts, name)
