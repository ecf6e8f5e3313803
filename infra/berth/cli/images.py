"""`berth images`."""

import click

from berth.cli.options import json_option, show, stack_option
from berth.project import find_project


@click.command()
@stack_option
@json_option
def images(name: str, as_json: bool) -> None:
    """Show the content of the stack's images: size, packages, user, set-ID files and shells."""
    root = find_project()
    from berth.cli.stacks import read_recorded_state
    from berth.operations.images import format_reports

    reports = read_recorded_state(root, name).outputs.get("images", {})
    show(reports, as_json, lambda: format_reports(reports))
