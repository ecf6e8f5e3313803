"""`berth invoke`."""

import importlib
import json
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from berth.cli.options import json_option, say, show, stack_option
from berth.project import find_project

if TYPE_CHECKING:
    from berth.spec import HostingSpec


@click.command()
@click.argument("model")
@stack_option
@click.option("--version", help="Version to call. Defaults to the traffic split.")
@click.option(
    "--client", help="Client whose API key to use. Defaults to 'default', then the first."
)
@click.option(
    "--input",
    "source",
    type=click.File("rb"),
    help="File with the request body, or - for stdin. Defaults to the example in the model card.",
)
@json_option
def invoke(
    model: str,
    name: str,
    version: str | None,
    client: str | None,
    source: IO[bytes] | None,
    as_json: bool,
) -> None:
    """Send one inference request through the gateway and print the response."""
    root = find_project()
    from concurrent.futures import ThreadPoolExecutor

    from berth.engine import ensure_engine
    from berth.errors import OperationError
    from berth.operations.stack import Stack
    from berth.operations.state_file import require_deployed

    require_deployed(root, name)
    stack = Stack(name, root, ensure_engine(say).environment(root))
    with ThreadPoolExecutor(1) as pool:
        # The engine decrypts the key in its own process, during which this one imports the rest.
        reading = pool.submit(stack.outputs)
        _import_slow_modules()
        outputs = reading.result()
    if model not in outputs["models"]:
        raise OperationError(
            f"Stack '{name}' has no model '{model}'. Models: {', '.join(outputs['models'])}."
        )
    from berth.operations.invoke import Request, read_example
    from berth.operations.invoke import invoke as send

    if source is not None:
        request = Request(_read_json(source))
    else:
        any_version = version or next(iter(outputs["models"][model]["versions"]))
        request = read_example(root, name, model, any_version, lambda: _load_spec(root, name))
    response = send(outputs, model, request, version=version, client=client)
    say(f"HTTP {response.status}" + (f", version {response.version}" if response.version else ""))
    show(response.body, as_json, lambda: json.dumps(response.body))
    sys.exit(0 if response.status == 200 else 1)


def _load_spec(root: Path, name: str) -> "HostingSpec":
    from berth.cli.stacks import load_current_or_recorded_spec

    return load_current_or_recorded_spec(root, name)


def _import_slow_modules() -> None:
    for module in ("requests", "berth_protocol.model_card", "berth.operations.invoke"):
        importlib.import_module(module)


def _read_json(source: IO[bytes]) -> bytes:
    content = source.read()
    try:
        json.loads(content)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--input") from error
    return content
