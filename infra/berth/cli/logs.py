"""`berth logs`."""

import contextlib

import click

from berth.cli.options import stack_option
from berth.project import find_project


@click.command()
@click.argument("model", required=False)
@stack_option
@click.option("--version", help="Print only logs of this version.")
@click.option(
    "-n", "--lines", default=20, show_default=True, help="Number of last lines of each log."
)
@click.option("-f", "--follow", is_flag=True, help="Continue to print new lines until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def logs(
    model: str | None, name: str, version: str | None, lines: int, follow: bool, as_json: bool
) -> None:
    """Print logs of the stack or of one model."""
    root = find_project()
    from berth.cli.stacks import open_context, read_recorded_state
    from berth.errors import OperationError
    from berth.operations.log_lines import format_json, format_text
    from berth.platforms import get_platform

    outputs = read_recorded_state(root, name).outputs
    context = open_context(root, name)
    format_line = format_json if as_json else format_text
    is_empty = True
    with contextlib.suppress(KeyboardInterrupt):
        for process, line in get_platform(context.spec.platform).read_logs(
            context, outputs, model=model, version=version, last=lines, follow=follow
        ):
            is_empty = False
            click.echo(format_line(process, line))
    if is_empty:
        selection = " ".join(part for part in (model, version) if part)
        raise OperationError(
            f"Stack '{name}' has no logs{f' of {selection}' if selection else ''}. "
            "Run 'berth status' to list its models."
        )
