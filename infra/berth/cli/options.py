"""Options and output that the commands share."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

stack_option = click.option(
    "-s", "--stack", "name", default="local", show_default=True, help="Stack to use."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout, the rest on stderr."
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Skip the confirmation prompt.")


def require_yes(yes: bool, as_json: bool) -> None:
    """Reject `--json` without `--yes`, because stdout has no room for a prompt."""
    if as_json and not yes:
        raise click.UsageError("--json cannot prompt for confirmation. Add --yes.")


def say(message: str) -> None:
    """Print progress on stderr, so that stdout contains only the result."""
    click.echo(message, err=True)


def show(document: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print the result as JSON or as text."""
    click.echo(json.dumps(document, indent=2) if as_json else text())


def get_command() -> str:
    """Return the command that the user ran Berth with, such as `berth` or `./berth`."""
    wrapper = os.environ.get("BERTH_COMMAND")
    if wrapper:
        return wrapper
    program = Path(sys.argv[0])
    if program.name != "berth":
        return "python -m berth"
    on_path = shutil.which("berth")
    return "berth" if on_path and Path(on_path).resolve() == program.resolve() else str(program)
