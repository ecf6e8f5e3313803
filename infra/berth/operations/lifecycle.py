"""`berth up` and `berth destroy`."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from berth.operations.invoke import Request, Response
from berth.operations.stack import Stack
from berth.platforms.stack_context import SkippedPart
from berth_protocol.paths import infer_path
from pulumi_berth.proxies import has_proxy, is_loopback

# A detector returns a megabyte of numbers.
_SHOWN_CHARACTERS = 2000


def up(stack: Stack, *options: str, yes: bool, skipped: Sequence[SkippedPart] = ()) -> int:
    """Deploy the stack and return the engine's exit code.

    Args:
        options: More options of the engine.
    """
    stack.create()
    return stack.up(*options, *_arguments(yes, skipped))


def destroy(stack: Stack, *, yes: bool, skipped: Sequence[SkippedPart] = ()) -> int:
    """Delete the stack's resources and return the engine's exit code.

    A stack that was never deployed is not an error.
    """
    if not stack.exists():
        return 0
    return stack.destroy(*_arguments(yes, skipped))


def exclude(parts: Sequence[SkippedPart]) -> list[str]:
    """Return the engine's arguments that leave `parts` unchanged."""
    arguments = [argument for part in parts for argument in ("--exclude", part.urns)]
    has_dependents = any(part.has_dependents for part in parts)
    return [*arguments, "--exclude-dependents"] if has_dependents else arguments


def _arguments(yes: bool, parts: Sequence[SkippedPart]) -> list[str]:
    return [*(["--yes"] if yes else []), *exclude(parts)]


def format_first_call(
    outputs: Mapping[str, Any],
    responses: Mapping[str, tuple[Request, Response]],
    *,
    stack: str,
    command: str,
) -> str:
    """Return the endpoint, a request that works as printed, and the response to it.

    Args:
        responses: The request to each model, and its response.
        command: The command that the user runs Berth with.
    """
    lines = ["", f"Serving at {outputs['endpoint']}"]
    for model, (request, response) in list(responses.items())[:1]:
        key = f"{command} key" + ("" if stack == "local" else f" -s {stack}")
        lines += [
            "",
            f"curl -s {_format_proxy_option(outputs['endpoint'])}"
            f"{outputs['endpoint']}{infer_path(model)} "
            f'-H "x-api-key: $({key})" {_format_body(request)}',
            "",
            _shorten(json.dumps(response.body)),
        ]
    return "\n".join(lines)


def _format_proxy_option(endpoint: str) -> str:
    """Return curl's option for an endpoint on this machine, where curl would use a proxy."""
    is_needed = has_proxy(os.environ) and is_loopback(urlsplit(endpoint).netloc)
    return "--noproxy '*' " if is_needed else ""


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
