"""`berth key`."""

import click

from berth.cli.options import say, stack_option
from berth.project import find_project


@click.command()
@click.argument("client", required=False)
@stack_option
def key(client: str | None, name: str) -> None:
    """Print a client's API key, for -H "x-api-key: $(berth key)".

    CLIENT defaults to 'default', then the first by name.
    """
    root = find_project()
    from berth.engine import ensure_engine
    from berth.operations.invoke import get_api_key
    from berth.operations.stack import Stack

    stack = Stack(name, root, ensure_engine(say).environment(root))
    click.echo(get_api_key(stack.outputs(), client))
