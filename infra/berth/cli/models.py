"""`berth models`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from berth.cli.options import json_option, show
from berth.project import find_project

if TYPE_CHECKING:
    from berth.operations.model_list import StackState


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
    found = model_list.list_models(root, stacks, lambda stack: _read_state(root, stack))
    if model is not None:
        names = sorted({version.model for version in found.versions})
        if model not in names:
            known = ", ".join(names) or "none"
            raise OperationError(f"Model '{model}' is not in this project. Models: {known}.")
        own = tuple(version for version in found.versions if version.model == model)
        found = replace(found, versions=own)
    show(model_list.as_json(found), as_json, lambda: model_list.format_text(found))


def _read_state(root: Path, stack: str) -> "StackState | None":
    from berth.cli.stacks import open_stack, read_recorded_state
    from berth.operations.model_list import StackState
    from berth.operations.state_file import (
        find_state_file,
        has_state_file,
        read_resources,
        read_state,
    )

    # The engine would take seconds to find out that a stack is not deployed.
    if find_state_file(root, stack) is not None and not has_state_file(root, stack):
        return None
    recorded = read_state(root, stack)
    if recorded is not None and not read_resources(root, stack):
        return None
    outputs = read_recorded_state(root, stack).outputs
    resources = read_resources(root, stack)
    if resources is None:
        resources = open_stack(root, stack).resources()
    return StackState(models=outputs["models"], resources=resources)
