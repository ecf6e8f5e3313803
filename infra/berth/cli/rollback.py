"""`berth rollback`."""

import sys
import time
from dataclasses import asdict

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
@click.option(
    "--check",
    "check_only",
    is_flag=True,
    help="Only report what it would change and keep. Exit with 1 if it would be refused, or if "
    "an image, a dataset or a file of that release is missing.",
)
@click.option(
    "--no-request",
    is_flag=True,
    help="Send no request at the end, for a machine that cannot reach the endpoint.",
)
@click.option(
    "--restore-signatures",
    is_flag=True,
    help="Also restore the required signatures of that update. By default, a rollback requires "
    "those that the stack requires now.",
)
@yes_option
@json_option
def rollback(
    name: str,
    number: int | None,
    with_program: bool,
    check_only: bool,
    no_request: bool,
    restore_signatures: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Roll back to an earlier successful update. Adds a new update to the history.

    Requests to versions that still run return first, within seconds; then the update follows.
    """
    started = time.monotonic()
    if not check_only:
        require_yes(yes, as_json)
    root = find_project()
    from berth.cli.lost_parts import require_no_lost_parts
    from berth.cli.returned_traffic import return_traffic
    from berth.cli.stacks import (
        exit_if_skipped,
        explain_failure,
        find_policy_pack,
        find_skipped_parts,
        get_refresh_options,
        load_deployable_spec,
        open_program,
        open_stack,
        report_drift,
        report_failed,
        require_serving,
        run_update,
    )
    from berth.cli.unfinished_rollouts import (
        report_unfinished_rollouts,
        require_no_running_rollout,
    )
    from berth.engine import ensure_providers
    from berth.operations import rollback as operation
    from berth.operations.lifecycle import exclude
    from berth.operations.previous_release import find_missing_parts, record_completeness
    from berth.operations.rollback_keys import describe_kept_keys
    from berth.operations.rollback_signatures import choose_requirement, describe_requirement
    from berth.operations.serving_check import find_failed, request_examples
    from berth.operations.status import summarize_stack
    from berth.platforms import get_platform
    from berth.platforms.stack_context import StackContext

    stack = open_stack(root, name, to_stderr=as_json)
    stack.require_deployed()
    history, current, secret_keys = stack.read_history_and_config()
    update = operation.choose_update(history, number)
    signatures = choose_requirement(
        current, operation.find_latest(history), update, restores=restore_signatures
    )
    if check_only:
        report = operation.inspect_rollback(
            stack,
            update,
            current,
            secret_keys=secret_keys,
            signatures=signatures,
            check=lambda path: load_deployable_spec(root, name, path),
            find_missing=lambda each: find_missing_parts(root, name, each),
        )
        show(asdict(report), as_json, lambda: operation.format_report(report))
        sys.exit(0 if report.is_possible else 1)
    require_no_running_rollout(root, name)
    report_unfinished_rollouts(
        root,
        name,
        "The rollback does not end the rollout: continue it or end it afterwards.",
    )
    program = operation.find_program(root, update, with_program=with_program, say=say)
    say(f"Rolling back to update {update.number} of {update.ended}.")
    for line in (
        *describe_kept_keys(current, update),
        *describe_requirement(signatures, update),
    ):
        say(line)
    with operation.write_config_of(stack, update, current, signatures) as config_file:
        spec = load_deployable_spec(root, name, config_file)
        context = StackContext(root=root, stack=name, spec=spec)

        def confirm() -> bool:
            is_confirmed = click.confirm("Perform this rollback?", err=True)
            if is_confirmed:
                return_traffic(context, history[-1], since=time.monotonic())
            return is_confirmed

        moved = return_traffic(context, history[-1], since=started) if yes else []
        ensure_providers(get_platform(spec.platform), stack.environment, say)
        require_no_lost_parts(stack, context)
        parts = find_skipped_parts(spec, root)
        # Moved traffic looks like drift. The update reads and restores everything then.
        has_drifted = bool(moved or report_drift(stack, context, parts))
        stack = open_program(stack, parts)
        options = get_refresh_options(context, has_drifted=has_drifted)
        code = operation.rollback(
            stack,
            update,
            config_file,
            program=program,
            options=exclude(parts),
            policy_pack=find_policy_pack(spec),
            confirm=(lambda: True) if yes else confirm,
            deploy=lambda runner, arguments: run_update(
                stack, context, lambda _: runner.up(*options, *arguments), has_drifted=has_drifted
            ),
        )
    record_completeness(stack, say)
    if code:
        explain_failure(context)
        if moved:
            say(
                f"Requests to {', '.join(moved)} have returned, but no update recorded it. Run the "
                "same command again, or 'berth up' to deploy the configuration file."
            )
        sys.exit(code)
    outputs = stack.outputs()
    require_serving(stack, context, outputs, parts)
    responses = {} if no_request else request_examples(root, name, spec, outputs)
    report_failed(stack, context, find_failed(responses), parts)
    summary = summarize_stack(name, outputs, stack.latest_update())
    show(
        {"rolled_back_to": update.number, **summary},
        as_json,
        lambda: (
            f"{stack.config_file.name} has the configuration of update {update.number}. Commit it."
        ),
    )
    exit_if_skipped(parts, name)
