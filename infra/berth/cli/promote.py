"""`berth promote`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from berth.cli.options import json_option, require_yes, say, show, yes_option
from berth.project import find_project

if TYPE_CHECKING:
    from berth.operations.promotion.plan import SourceState


@click.command()
@click.argument("source")
@click.argument("target")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="Promote only this model. Can be repeated. Defaults to all models of SOURCE.",
)
@click.option(
    "--dry-run",
    "--check",
    "is_dry_run",
    is_flag=True,
    help="Print the findings and the diff, and change nothing.",
)
@click.option(
    "--accept-worse", is_flag=True, help="Accept metrics that are worse than those of TARGET."
)
@click.option(
    "--no-request",
    is_flag=True,
    help="Send no request, for a machine that cannot reach the endpoint of SOURCE.",
)
@click.option(
    "--no-parity",
    is_flag=True,
    help="Do not list what else differs between the stacks.",
)
@click.option(
    "--pull-request",
    "as_pull_request",
    is_flag=True,
    help="Print a branch name, a title and a body for a pull request.",
)
@yes_option
@json_option
def promote(
    source: str,
    target: str,
    models: tuple[str, ...],
    is_dry_run: bool,
    accept_worse: bool,
    no_request: bool,
    no_parity: bool,
    as_pull_request: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Write the release of stack SOURCE into the configuration of stack TARGET, after checks.

    A release is what SOURCE runs: versions, digests, traffic, and versions of datasets. Exit with
    status 1 if a check failed: nothing is changed then.
    """
    if not is_dry_run:
        require_yes(yes, as_json)
    if source == target:
        raise click.UsageError(f"SOURCE and TARGET are both '{source}'. Name two stacks.")
    from berth.cli.stacks import load_spec
    from berth.operations.promotion.images import Side
    from berth.operations.promotion.plan import plan_promotion
    from berth.operations.promotion.plan import promote as write
    from berth.operations.promotion.report import (
        as_json as build_document,
    )
    from berth.operations.promotion.report import (
        build_pull_request,
        format_pull_request,
        format_text,
    )

    root = find_project()
    specs = {name: load_spec(root, name) for name in (source, target)}
    state = _read_source(root, source)
    promotion = plan_promotion(
        root,
        Side(stack=source, spec=specs[source], outputs=state.outputs),
        Side(stack=target, spec=specs[target], outputs=_read_outputs(root, target)),
        state,
        models=models,
        sends_requests=not no_request,
        accepts_worse=accept_worse,
        compares_stacks=not no_parity,
    )
    request = build_pull_request(promotion)
    if not as_json:
        click.echo(format_text(promotion), err=as_pull_request)
    is_written = not is_dry_run and not promotion.has_failed
    if is_written:
        if promotion.diff and not yes and not click.confirm("Write this release?", err=True):
            raise click.Abort
        write(promotion, say)
    document = build_document(promotion, was_written=is_written and bool(promotion.diff))
    if as_pull_request:
        document["pull_request"] = {
            "branch": request.branch,
            "title": request.title,
            "body": request.body,
        }
    if as_json or as_pull_request:
        show(document, as_json, lambda: format_pull_request(request))
    if promotion.has_failed:
        say("A check failed. Nothing was changed.")
        sys.exit(1)
    if is_written and promotion.diff:
        say(f"Commit {promotion.file.name}, then run 'berth up -s {target}'.")


def _read_source(root: Path, name: str) -> "SourceState":
    """Return what the backend knows of the stack.

    Raises:
        OperationError: If the stack was never deployed.
    """
    from berth.cli.stacks import open_stack
    from berth.operations.promotion.plan import SourceState

    stack = open_stack(root, name, to_stderr=True)
    stack.require_deployed()
    outputs = stack.outputs()
    config, secrets = stack.read_config()
    return SourceState(
        outputs=outputs,
        history=stack.history(show_secrets=True),
        config=config,
        secrets=secrets,
    )


def _read_outputs(root: Path, name: str) -> dict[str, object]:
    """Return the outputs of the stack without secrets, or none if it is not deployed."""
    from berth.cli.stacks import read_recorded_state
    from berth.errors import OperationError

    try:
        return read_recorded_state(root, name).outputs
    except OperationError as error:
        say(f"Comparing with Pulumi.{name}.yaml, because nothing deployed can be read: {error}")
        return {}
