"""`berth init`."""

import os
from pathlib import Path

import click

from berth.cli.options import get_command


@click.command()
@click.argument("directory", metavar="NAME", type=click.Path(file_okay=False, path_type=Path))
def init(directory: Path) -> None:
    """Create a project with a sample model in the new directory NAME."""
    from berth.operations.init import create_project

    name = create_project(directory)
    command = get_command()
    if os.sep in command:
        # The command is printed for another working directory.
        command = str(Path(command).resolve())
    click.echo(
        f"Created project '{name}'. Deploy its sample model:\n\n  cd {directory}\n  {command} up"
    )
