"""`berth key`."""

import click

from berth.cli.options import say, stack_option
from berth.project import find_project


@click.command()
@click.argument("client", required=False)
@click.option("--name", "key_name", help="Name of the key. Defaults to the newest.")
@click.option("--list", "is_list", is_flag=True, help="List the names and expiries of all keys.")
@stack_option
def key(client: str | None, key_name: str | None, is_list: bool, name: str) -> None:
    """Print a client's API key, for -H "x-api-key: $(berth key)".

    CLIENT defaults to 'default', then the first by name.
    """
    root = find_project()
    from berth.engine import ensure_engine
    from berth.operations.invoke import get_api_key, list_api_keys
    from berth.operations.stack import Stack
    from berth.operations.state_file import require_deployed

    require_deployed(root, name)
    stack = Stack(name, root, ensure_engine(say).environment(root))
    outputs = stack.outputs()
    if is_list:
        for row in list_api_keys(outputs, client):
            click.echo("  ".join(row))
        return
    click.echo(get_api_key(outputs, client, key_name))
