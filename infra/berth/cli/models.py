"""`berth models`."""

from pathlib import Path
from typing import Any

import click

from berth.cli.options import json_option, show
from berth.project import find_project


@click.command()
@click.argument("model", required=False)
@json_option
def models(model: str | None, as_json: bool) -> None:
    """List the model versions with their metrics, and the stacks that run them.

    Reads what each stack recorded at its last update. MODEL limits the list to one model.
    """
    from dataclasses import replace

    from berth.errors import OperationError
    from berth.operations import model_list

    root = find_project()
    stacks = sorted(
        path.name[len("Pulumi.") : -len(".yaml")] for path in root.glob("Pulumi.*.yaml")
    )
    found = model_list.list_models(root, stacks, lambda stack: _read_outputs(root, stack))
    if model is not None:
        names = sorted({version.model for version in found.versions})
        if model not in names:
            known = ", ".join(names) or "none"
            raise OperationError(f"Model '{model}' is not in this project. Models: {known}.")
        own = tuple(version for version in found.versions if version.model == model)
        found = replace(found, versions=own)
    show(model_list.as_json(found), as_json, lambda: model_list.format_text(found))


def _read_outputs(root: Path, stack: str) -> dict[str, Any] | None:
    from berth.cli.stacks import read_recorded_state
    from berth.operations.state_file import find_state_file, has_state_file, read_resources

    # The engine would take seconds to find out that a stack is not deployed.
    if find_state_file(root, stack) is not None and not has_state_file(root, stack):
        return None
    if read_resources(root, stack) == []:
        return None
    return read_recorded_state(root, stack).outputs
