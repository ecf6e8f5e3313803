"""`berth`: the command line. Thin: every command is a call into infra/operations."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from berth.cli.bootstrap import bootstrap
from berth.cli.data import data
from berth.cli.parity import parity, told
from berth.cli.picture import picture
from berth.cli.policy import against_baseline
from berth.cli.shared import ROOT, json_option, say, show, stack_option, yes_option
from berth.engine import EngineError, ensure_engine, ensure_providers
from berth.errors import OperationError
from berth.operations import images as image_reports
from berth.operations import invoke as invoking
from berth.operations import lifecycle, log_text
from berth.operations import rollback as rolling_back
from berth.operations.stack import Stack
from berth.packaging.errors import PackageError
from berth.platforms import get_platform
from berth.platforms.stack_context import SkippedPart, StackContext
from berth.spec import HostingSpec, SpecError, load_file, version_directory
from berth.spec.model_files import check_models
from berth_protocol.model_card import CardError, read_card

BAD_INPUT = 2


def _stack(name: str, *, as_json: bool = False) -> Stack:
    """To look at."""
    engine = ensure_engine(say)
    return Stack(name, ROOT, engine.environment(ROOT), to_stderr=as_json)


def _stack_of(spec: HostingSpec, name: str, *, as_json: bool = False) -> Stack:
    """To change: with what its platform needs."""
    stack = _stack(name, as_json=as_json)
    ensure_providers(get_platform(spec.platform), stack.environment, say)
    return stack


def _checked(name: str, path: Path | None = None) -> HostingSpec:
    """The specification of a stack, whole and deployable, or SpecError."""
    source = path or ROOT / f"Pulumi.{name}.yaml"
    spec = load_file(source)
    check_models(spec, ROOT, source)
    get_platform(spec.platform).require_target(spec, ROOT)
    return spec


def _left_out(spec: HostingSpec) -> list[SkippedPart]:
    """The parts that cannot be reached, told."""
    parts = get_platform(spec.platform).find_unreachable_parts(spec, ROOT)
    for part in parts:
        say(f"{part.name} is left as it is: {part.reason}")
    return parts


def _exit_for(parts: list[SkippedPart], name: str) -> None:
    """The rest is done, but not all is: say so, with an exit code that says so too."""
    if parts:
        say(
            f"left as they are: {', '.join(part.name for part in parts)}; once they answer, the "
            f"same command on stack {name} does the rest"
        )
        sys.exit(1)


def _place(name: str) -> StackContext:
    return StackContext(root=ROOT, stack=name, spec=load_file(ROOT / f"Pulumi.{name}.yaml"))


def _outputs(stack: Stack) -> dict[str, Any]:
    outputs = stack.outputs() if stack.exists() else {}
    if "endpoint" not in outputs:
        raise OperationError(f"stack {stack.name} is not up: run `berth up -s {stack.name}`")
    return outputs


def _require_yes(yes: bool, as_json: bool) -> None:
    if as_json and not yes:
        raise click.UsageError("--json asks nothing: give --yes with it")


@contextlib.contextmanager
def _errors_for_people() -> Iterator[None]:
    """What went wrong as a message and an exit code: 2 for bad input, 1 for the rest."""
    try:
        yield
    except (SpecError, CardError, PackageError) as error:
        say(str(error))
        sys.exit(BAD_INPUT)
    except (OperationError, EngineError) as error:
        say(f"berth: {error}")
        sys.exit(1)


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        with _errors_for_people():
            return super().invoke(ctx)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Host trained models: every version in a serving container of its own."""


@main.command()
@stack_option
@yes_option
@json_option
def up(name: str, yes: bool, as_json: bool) -> None:
    """Bring the stack to what its configuration says."""
    _require_yes(yes, as_json)
    spec = _checked(name)
    stack = against_baseline(_stack_of(spec, name, as_json=as_json), spec)
    parts = _left_out(spec)
    code = lifecycle.up(stack, yes=yes, skipped=parts)
    if code:
        for line in get_platform(spec.platform).explain_failure(
            StackContext(root=ROOT, stack=name, spec=spec)
        ):
            say(line)
        sys.exit(code)
    outputs = stack.outputs()
    shown = lifecycle.shown(stack, outputs)
    show(shown, as_json, lambda: lifecycle.first_call(ROOT, spec, outputs, stack=name))
    _exit_for(parts, name)


@main.command()
@stack_option
@click.option("--expect-no-changes", is_flag=True, help="Exit 1 when anything would change.")
@json_option
def preview(name: str, expect_no_changes: bool, as_json: bool) -> None:
    """Show what `up` would change; change nothing. Exit 1 when the stack is no longer like the one
    that `parity.stack` names."""
    spec = _checked(name)
    stack = against_baseline(_stack_of(spec, name), spec)
    stack.create()
    arguments = ["--expect-no-changes"] if expect_no_changes else []
    arguments += lifecycle.exclusions(_left_out(spec))
    if as_json:
        code, document = stack.preview_json(*arguments)
    else:
        code, document = stack.preview(*arguments), {}
    held = told(spec, name)
    if as_json:
        click.echo(json.dumps(document | ({"parity": held} if held else {}), indent=2))
    sys.exit(code or (0 if held is None or held["parity"] else 1))


@main.command()
@stack_option
@json_option
def status(name: str, as_json: bool) -> None:
    """What runs: endpoint, versions, their state, traffic and digest."""
    stack = _stack(name)
    outputs = _outputs(stack)
    place = _place(name)
    found = lifecycle.shown(stack, outputs) | get_platform(place.spec.platform).observe(
        place, outputs
    )
    show(found, as_json, lambda: lifecycle.status_table(found))


@main.command()
@click.argument("model")
@stack_option
@click.option("--version", help="Ask for this version; otherwise the traffic split decides.")
@click.option(
    "--client", help="Whose API key to use; that of `default`, or of the first client, otherwise."
)
@click.option(
    "--input",
    "source",
    type=click.File("rb"),
    help="A file with the request body (- for stdin); the model card's example otherwise.",
)
@json_option
def invoke(
    model: str, name: str, version: str | None, client: str | None, source: Any, as_json: bool
) -> None:
    """Send one inference request through the gateway and print the answer."""
    outputs = _outputs(_stack(name))
    if model not in outputs["models"]:
        raise OperationError(
            f"stack {name} has no model {model!r}; it has: {', '.join(outputs['models'])}"
        )
    if source is None:
        entry = load_file(ROOT / f"Pulumi.{name}.yaml").models[model]
        any_version = version or next(iter(entry.versions))
        chosen = entry.versions.get(any_version)
        path = chosen.path if chosen else None
        request = read_card(version_directory(ROOT, model, any_version, path)).example
    else:
        try:
            request = json.load(source)
        except ValueError as error:
            raise click.BadParameter(f"not JSON: {error}", param_hint="--input") from error
    answer = invoking.invoke(outputs, model, request, version=version, client=client)
    say(f"HTTP {answer.status}" + (f", version {answer.version}" if answer.version else ""))
    show(answer.body, as_json, lambda: json.dumps(answer.body))
    sys.exit(0 if answer.status == 200 else 1)


@main.command()
@click.argument("client", required=False)
@stack_option
def key(client: str | None, name: str) -> None:
    """Print a client's API key, for `-H "x-api-key: $(berth key)"`."""
    click.echo(invoking.key_of(_outputs(_stack(name)), client))


@main.command()
@click.argument("model", required=False)
@stack_option
@click.option("--version", help="Only this version.")
@click.option("-n", "--lines", default=20, show_default=True, help="Last lines of each log.")
@click.option("-f", "--follow", is_flag=True, help="Go on printing until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def logs(
    model: str | None, name: str, version: str | None, lines: int, follow: bool, as_json: bool
) -> None:
    """Print what the processes of the stack, or of one model, wrote."""
    outputs = _outputs(_stack(name))
    place = _place(name)
    shown = log_text.as_json if as_json else log_text.as_text
    found = get_platform(place.spec.platform).read_logs(
        place, outputs, model=model, version=version, last=lines, follow=follow
    )
    some = False
    with contextlib.suppress(KeyboardInterrupt):
        for process, line in found:
            some = True
            click.echo(shown(process, line))
    if not some:
        raise OperationError(f"stack {name} has no logs of {model or 'anything'} {version or ''}")


@main.command()
@stack_option
@click.option("--to", type=int, help="The number of the update to go back to.")
@click.option(
    "--with-program", is_flag=True, help="Run the program of that update's commit as well."
)
@yes_option
@json_option
def rollback(name: str, to: int | None, with_program: bool, yes: bool, as_json: bool) -> None:
    """Take the stack back to a prior successful update, as an update of its own."""
    _require_yes(yes, as_json)
    stack = _stack(name, as_json=as_json)
    if not stack.exists():
        raise OperationError(f"stack {name} was never up: nothing to go back to")
    update = rolling_back.choose(stack.history(show_secrets=True), to)
    program = rolling_back.program_for(ROOT, update, with_program=with_program, say=say)
    say(f"going back to update {update.number} of {update.ended}")
    code = rolling_back.rollback(
        stack,
        update,
        program=program,
        check=lambda path: ensure_providers(
            get_platform(_checked(name, path).platform), stack.environment, say
        ),
        confirm=lambda: yes or click.confirm("Perform this rollback?", err=True),
    )
    if code:
        sys.exit(code)
    outputs = stack.outputs()
    found = {"rolled_back_to": update.number, **lifecycle.shown(stack, outputs)}
    show(
        found,
        as_json,
        lambda: f"{stack.config_file.name} is again as of update {update.number}; commit it.",
    )


@main.command()
@stack_option
@yes_option
@json_option
def destroy(name: str, yes: bool, as_json: bool) -> None:
    """Remove everything that the stack made. Its history and configuration stay."""
    _require_yes(yes, as_json)
    spec = load_file(ROOT / f"Pulumi.{name}.yaml")
    stack = _stack_of(spec, name, as_json=as_json)
    parts = _left_out(spec)
    code = lifecycle.destroy(stack, yes=yes, skipped=parts)
    if code == 0:
        _exit_for(parts, name)
    if code == 0 and as_json:
        click.echo(json.dumps({"stack": name, "result": "destroyed"}))
    sys.exit(code)


@main.command()
@stack_option
@json_option
def images(name: str, as_json: bool) -> None:
    """What is inside the stack's images: size, packages, user, and what must not be there."""
    found = image_reports.reports(_outputs(_stack(name)))
    show(found, as_json, lambda: image_reports.as_text(found))


main.add_command(bootstrap)
main.add_command(data)
main.add_command(parity)
main.add_command(picture)


@main.command()
@click.argument("source")
@click.option("--name", required=True, help="The model's name: lower case, digits, hyphens.")
@click.option("--version", required=True, help="The version; one that exists is never changed.")
@click.option("--rows", help="A .npy or .npz file of real rows, best held-out ones.")
@click.option("--description", default="", help="One or two sentences for the model card.")
@click.option("--dataset", default="", help="The data that the model was trained on.")
@click.option("--metric", "metrics", multiple=True, help="NAME=NUMBER, measured; repeatable.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "models",
    help="The folder of the models; that of this project otherwise.",
)
@json_option
def package(
    source: str,
    name: str,
    version: str,
    rows: str | None,
    description: str,
    dataset: str,
    metrics: tuple[str, ...],
    into: Path,
    as_json: bool,
) -> None:
    """Make a version that can be hosted from SOURCE: a file that holds no pickle (.onnx; .json or
    .ubj of XGBoost; .txt of LightGBM; .pt2 of PyTorch), a folder of Hugging Face's, or
    `train.py:function`, which returns a fitted model and real rows."""
    from berth.operations.package import package_model

    say(f"packaging {source} as {name} {version}: converting, checking, comparing answers")
    made = package_model(
        source,
        name=name,
        version=version,
        rows=rows,
        description=description,
        dataset=dataset,
        metrics=dict(_metric(text) for text in metrics) or None,
        into=into,
    )
    for note in made.notes:
        say(note)
    found = {
        "path": str(made.path),
        "digest": made.digest,
        "changed": made.changed,
        "rows_compared": made.rows,
        "largest_differences": {name: d.largest for name, d in made.differences.items()},
        "metrics": made.card.metrics,
    }
    show(found, as_json, lambda: _packaged(found))


def _packaged(found: dict[str, Any]) -> str:
    differences = ", ".join(f"{n} {d:g}" for n, d in found["largest_differences"].items())
    return (
        f"{found['path']} {'made' if found['changed'] else 'is there already, the same'}: "
        f"{found['digest']}\n"
        f"compared on {found['rows_compared']} rows; largest difference: {differences}"
    )


def _metric(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not NAME=NUMBER, as in accuracy=0.97", param_hint="--metric"
        ) from None


@main.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(arguments: tuple[str, ...]) -> None:
    """Run the tests; arguments go to pytest."""
    from berth.operations.testing import run_tests

    sys.exit(run_tests(ROOT, list(arguments)))


if __name__ == "__main__":
    main(prog_name="berth")
