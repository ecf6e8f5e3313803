"""`berth preflight`."""

import sys

import click

from berth.cli.options import json_option, say, show, stack_option
from berth.project import find_project


@click.command()
@stack_option
@json_option
def preflight(name: str, as_json: bool) -> None:
    """Check what would stop 'up', such as permissions, quotas and names that do not exist.

    Exit with status 1 if a check failed.
    """
    root = find_project()
    from berth.cli.stacks import load_complete_spec
    from berth.operations import preflight as operation
    from berth.platforms.stack_context import StackContext

    spec = load_complete_spec(root, name)
    context = StackContext(root=root, stack=name, spec=spec)
    requirements = operation.list_requirements(context, root / f"Pulumi.{name}.yaml", say)
    findings = operation.find_problems(context, requirements)
    show(
        operation.as_json(name, findings),
        as_json,
        lambda: operation.format_text(name, findings),
    )
    sys.exit(int(operation.has_failed(findings)))
