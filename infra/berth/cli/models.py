"""`berth models`."""

from pathlib import Path
from typing import Any

import click

from berth.cli.options import json_option, say, show
from berth.project import find_project


@click.command()
@click.argument("model", required=False)
@click.argument("version", required=False)
@click.option(
    "--images",
    "checks_images",
    is_flag=True,
    help="Look up in the registries which images are signed.",
)
@click.option(
    "--bom",
    "bom_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the bill of materials of VERSION as CycloneDX JSON to this file.",
)
@click.option(
    "-s",
    "--stack",
    "stack",
    help="With --bom: stack whose image of the version is included.",
)
@json_option
def models(
    model: str | None,
    version: str | None,
    checks_images: bool,
    bom_file: Path | None,
    stack: str | None,
    as_json: bool,
) -> None:
    """List the model versions with their metrics, and the stacks that run them.

    Reads what each stack recorded at its last update. MODEL and VERSION limit the list. A signature
    is trusted if its key is in 'require_signature' of a stack, or its identity in
    'trusted_identities'.
    """
    if bom_file is not None:
        if model is None or version is None:
            raise click.UsageError("--bom needs MODEL and VERSION.")
        _write_bom(model, version, bom_file, stack)
        return
    if stack is not None:
        raise click.UsageError("-s is only used with --bom.")
    from dataclasses import replace

    from berth.cli.stacks import load_spec
    from berth.errors import OperationError
    from berth.operations import model_list, signature_state

    root = find_project()
    stacks = sorted(
        path.name[len("Pulumi.") : -len(".yaml")] for path in root.glob("Pulumi.*.yaml")
    )
    signers = signature_state.collect_signers(root, stacks)

    def describe_image(stack: str, reference: str) -> signature_state.SignatureState:
        plain_http = load_spec(root, stack).registry.plain_http
        return signature_state.describe_image(reference, signers, plain_http=plain_http)

    found = model_list.list_models(
        root,
        stacks,
        lambda stack: _read_outputs(root, stack),
        lambda directory, card: signature_state.describe_version(directory, card, signers),
        describe_image if checks_images else None,
    )
    if model is not None:
        names = sorted({one.model for one in found.versions})
        if model not in names:
            known = ", ".join(names) or "none"
            raise OperationError(f"Model '{model}' is not in this project. Models: {known}.")
        own = tuple(one for one in found.versions if one.model == model)
        if version is not None:
            known = ", ".join(one.version for one in own)
            own = tuple(one for one in own if one.version == version)
            if not own:
                raise OperationError(
                    f"Model '{model}' has no version '{version}'. Versions: {known}."
                )
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


def _write_bom(model: str, version: str, path: Path, stack: str | None) -> None:
    from berth.cli.stacks import load_spec, read_recorded_state
    from berth.operations.bom import build_version_bom
    from pulumi_berth.files import replace_atomically

    root = find_project()
    outputs = None if stack is None else read_recorded_state(root, stack).outputs
    spec = None if stack is None else load_spec(root, stack)
    document = build_version_bom(root, model, version, outputs=outputs, spec=spec)
    replace_atomically(path, document, mode=0o644)
    say(f"Wrote {path}")
