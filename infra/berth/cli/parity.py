"""`berth parity`."""

import sys

import click

from berth.cli.options import json_option, show
from berth.project import find_project


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--markdown", is_flag=True, help="Print a table for a pull request.")
@json_option
def parity(first: str, second: str, markdown: bool, as_json: bool) -> None:
    """Compare two stacks, ignoring the values that may differ. Exit with status 1 if they differ.

    The values are listed in 'parity.may_differ' of stack SECOND.
    """
    from berth.operations import parity as operation

    differences = operation.compare_stacks(find_project(), first, second)
    format_result = operation.format_markdown if markdown else operation.format_text
    show(
        operation.as_json(first, second, differences),
        as_json,
        lambda: format_result(first, second, differences),
    )
    sys.exit(1 if differences else 0)
