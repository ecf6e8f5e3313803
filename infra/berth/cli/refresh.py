"""`berth refresh`."""

import json
import sys

import click

from berth.cli.options import json_option, require_yes, stack_option, yes_option
from berth.project import find_project


@click.command()
@stack_option
@yes_option
@json_option
def refresh(name: str, yes: bool, as_json: bool) -> None:
    """Read the state of all resources from where they run. Changes no resource.

    The next 'berth up' restores what differs from the configuration.
    """
    require_yes(yes, as_json)
    root = find_project()
    from berth.cli.stacks import (
        exit_if_skipped,
        find_skipped_parts,
        load_spec,
        open_stack_for_update,
    )
    from berth.operations.lifecycle import exclude
    from berth.operations.state_file import require_deployed

    spec = load_spec(root, name)
    require_deployed(root, name)
    stack = open_stack_for_update(root, name, spec, to_stderr=as_json)
    stack.require_deployed()
    parts = find_skipped_parts(spec, root)
    code = stack.refresh(*(["--yes"] if yes else []), *exclude(parts))
    if code == 0:
        exit_if_skipped(parts, name)
    if code == 0 and as_json:
        changes = stack.latest_update().changes
        click.echo(json.dumps({"stack": name, "result": "refreshed", "changes": dict(changes)}))
    sys.exit(code)
