"""`berth status`."""

from dataclasses import asdict

import click

from berth.cli.options import json_option, show, stack_option
from berth.project import find_project


@click.command()
@stack_option
@json_option
def status(name: str, as_json: bool) -> None:
    """Show the endpoint and each version's state, traffic and digest."""
    root = find_project()
    from berth.cli.stacks import find_drift, open_context, read_recorded_state
    from berth.cli.unfinished_rollouts import report_unfinished_rollouts
    from berth.errors import OperationError
    from berth.operations.rollout.status import describe_unfinished, list_rollouts
    from berth.operations.status import format_status, summarize_stack
    from berth.platforms import get_platform

    try:
        recorded = read_recorded_state(root, name)
    except OperationError:
        # The traffic of a stack that was destroyed comes back with the next update.
        report_unfinished_rollouts(root, name)
        raise
    context = open_context(root, name)
    summary = summarize_stack(name, recorded.outputs, recorded.latest)
    summary |= get_platform(context.spec.platform).observe(context, recorded.outputs)
    notes = summary.get("notes") or [
        f"drift: {line}. Run 'berth up' to restore it." for line in find_drift(context)
    ]
    rollouts, problems = list_rollouts(root, name)
    summary["notes"] = [*notes, *problems]
    summary["rollouts"] = [asdict(each) for each in rollouts if not each.has_ended]
    show(summary, as_json, lambda: format_status(summary, describe_unfinished(rollouts)))
