"""`berth picture`: a stack drawn from what it declares."""

from pathlib import Path

import click

from berth.cli.shared import ROOT, stack_option
from pulumi_berth.files import replace_atomically


@click.command()
@stack_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; the picture goes to stdout otherwise.",
)
def picture(name: str, output: Path | None) -> None:
    """Draw what the stack declares, as SVG: its components, and what each stands on. Asks neither
    engine nor cloud."""
    from berth.operations.picture import draw

    drawn = draw(name, ROOT / f"Pulumi.{name}.yaml")
    if output is None:
        click.echo(drawn, nl=False)
    else:
        replace_atomically(output, drawn, mode=0o644)
