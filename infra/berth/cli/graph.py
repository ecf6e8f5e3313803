"""`berth graph`."""

from pathlib import Path

import click

from berth.cli.options import stack_option
from berth.project import find_project


@click.command()
@stack_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write. Defaults to stdout.",
)
def graph(name: str, output: Path | None) -> None:
    """Print the stack's resource graph as Mermaid text. Contacts neither the engine nor a cloud."""
    from berth.operations.graph import draw_stack
    from pulumi_berth.files import replace_atomically

    text = draw_stack(find_project() / f"Pulumi.{name}.yaml")
    if output is None:
        click.echo(text, nl=False)
    else:
        replace_atomically(output, text, mode=0o644)
