"""`berth up` and `berth destroy`."""

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.operations.invoke import Request, Response, invoke, read_example
from berth.operations.stack import Stack
from berth.platforms.stack_context import SkippedPart
from berth.spec import HostingSpec
from berth_protocol.paths import infer_path

_FIRST_CALL_SECONDS = 15.0
_RETRY_SECONDS = 0.25
# A detector returns a megabyte of numbers.
_SHOWN_CHARACTERS = 2000


def up(stack: Stack, *, yes: bool, skipped: Sequence[SkippedPart] = ()) -> int:
    """Deploy the stack and return the engine's exit code."""
    stack.create()
    return stack.up(*_arguments(yes, skipped))


def destroy(stack: Stack, *, yes: bool, skipped: Sequence[SkippedPart] = ()) -> int:
    """Delete the stack's resources and return the engine's exit code.

    A stack that was never deployed is not an error.
    """
    if not stack.exists():
        return 0
    return stack.destroy(*_arguments(yes, skipped))


def exclude(parts: Sequence[SkippedPart]) -> list[str]:
    """Return the engine's arguments that leave `parts` and their dependents unchanged."""
    arguments = [argument for part in parts for argument in ("--exclude", part.urns)]
    return [*arguments, "--exclude-dependents"] if arguments else []


def _arguments(yes: bool, parts: Sequence[SkippedPart]) -> list[str]:
    return [*(["--yes"] if yes else []), *exclude(parts)]


def first_call(
    root: Path, spec: HostingSpec, outputs: dict[str, Any], *, stack: str, command: str
) -> str:
    """Return the endpoint, a request that works as printed, and the response to it.

    Args:
        command: The command that the user runs Berth with.
    """
    model, entry = next(iter(spec.models.items()))
    request = read_example(root, stack, model, next(iter(entry.traffic)), lambda: spec)
    response = _invoke_with_retries(outputs, model, request)
    key = f"{command} key" + ("" if stack == "local" else f" -s {stack}")
    return "\n".join(
        [
            "",
            f"Serving at {outputs['endpoint']}",
            "",
            f"curl -s {outputs['endpoint']}{infer_path(model)} "
            f'-H "x-api-key: $({key})" {_format_body(request)}',
            "",
            _shorten(json.dumps(response.body)),
        ]
    )


def _format_body(request: Request) -> str:
    """Return curl's options for the body: the body itself, or the file that contains it."""
    headers = " ".join(
        f"-H {shlex.quote(f'{name}: {value}')}" for name, value in request.headers.items()
    )
    if request.file is None:
        return f"{headers} -d {shlex.quote(request.content.decode())}"
    file = request.file
    path = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    # `-d` would remove line breaks from the file.
    return f"{headers} --data-binary {shlex.quote(f'@{path}')}"


def _shorten(text: str) -> str:
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:_SHOWN_CHARACTERS]} … ({len(text)} characters)"


def _invoke_with_retries(outputs: dict[str, Any], model: str, request: Request) -> Response:
    """Send the request until it succeeds or 15 s have passed.

    A cluster's gateway learns of a route, and its nodes of an address, a moment after creation.
    """
    deadline = time.monotonic() + _FIRST_CALL_SECONDS
    while True:
        is_last = time.monotonic() > deadline
        try:
            response = invoke(outputs, model, request)
        except OperationError:
            if is_last:
                raise
        else:
            if response.status == 200 or is_last:
                return response
        time.sleep(_RETRY_SECONDS)
