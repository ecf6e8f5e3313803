"""`berth capture`."""

from pathlib import Path

import click

from berth.cli.options import json_option, show, stack_option
from berth.project import find_project


@click.command()
@click.argument("model")
@click.argument("version")
@stack_option
@click.option(
    "--out",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the requests, one JSON object in each line. An existing file is replaced.",
)
@json_option
def capture(model: str, version: str, name: str, path: Path, as_json: bool) -> None:
    """Write the captured requests of a version to a file.

    The berths keep a sample of the requests in memory if `capture` is set for the model. The file
    can contain personal data; only its owner can read it.
    """
    root = find_project()
    from berth.cli.stacks import open_context, read_recorded_state
    from berth.operations.capture import read_captured, write_captured

    outputs = read_recorded_state(root, name).outputs
    lines = read_captured(open_context(root, name), outputs, model, version)
    write_captured(lines, path)
    show(
        {"model": model, "version": version, "requests": len(lines), "path": str(path)},
        as_json,
        lambda: f"Wrote {len(lines)} captured requests of {model} {version} to {path}.",
    )
