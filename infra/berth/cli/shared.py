"""What every command of `berth` has in common: the project, its options, how results are shown."""

import json
from collections.abc import Callable
from typing import Any

import click

from berth.project import find_project

ROOT = find_project()

stack_option = click.option(
    "-s", "--stack", "name", default="local", show_default=True, help="The stack to act on."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on stdout; the rest on stderr."
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def say(message: str) -> None:
    """Progress, for the person who waits: on stderr, so that stdout is the result alone."""
    click.echo(message, err=True)


def show(document: Any, as_json: bool, text: Callable[[], str]) -> None:
    click.echo(json.dumps(document, indent=2) if as_json else text())
