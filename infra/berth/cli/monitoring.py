"""`berth monitoring`."""

import re
from pathlib import Path

import click

from berth.cli.options import json_option, show, stack_option
from berth.project import find_project

# https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels
_LABEL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.+)", re.DOTALL)


def _parse_labels(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    labels = {}
    for value in values:
        found = _LABEL.fullmatch(value)
        if found is None:
            raise click.BadParameter(
                f"'{value}' is not NAME=VALUE with a label name of letters, digits and underscores"
            )
        labels[found[1]] = found[2]
    return labels


@click.command()
@stack_option
@click.option(
    "--into",
    "directory",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for dashboard.json and rules.yaml. Files that it did not write are kept.",
)
@click.option(
    "--label",
    "labels",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_parse_labels,
    help="Label of all series of the stack. Repeatable. Defaults to the namespace in a cluster.",
)
@json_option
def monitoring(name: str, directory: Path, labels: dict[str, str], as_json: bool) -> None:
    """Write a Grafana dashboard and Prometheus rules for the stack. Contacts nothing.

    Reads the stack's configuration file, so run it again after a change of models or clients.
    """
    root = find_project()
    from berth.cli.stacks import load_spec
    from berth.operations import monitoring as operation
    from berth.platforms.stack_context import StackContext

    context = StackContext(root=root, stack=name, spec=load_spec(root, name))
    result = operation.build_monitoring(context, labels)
    operation.write_files(result, directory)
    show(
        operation.as_json(result, directory),
        as_json,
        lambda: operation.format_text(result, directory),
    )
