"""The logs of a docker stack's containers."""

import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from berth.errors import OperationError
from berth.platforms.docker.hosts import open_engines
from berth.platforms.docker.target import get_hosting_id
from berth.platforms.stack_context import StackContext
from pulumi_berth.docker.engine import (
    HOSTING_LABEL,
    MODEL_LABEL,
    VERSION_LABEL,
    EngineError,
)

_QUEUED_LINES = 10_000


def read_logs(
    context: StackContext,
    outputs: dict[str, Any],  # noqa: ARG001
    *,
    model: str | None,
    version: str | None,
    last: int,
    follow: bool,
) -> Iterator[tuple[str, str]]:
    """Yield the name of a container and a line of its log, the last `last` lines of each.

    With `follow`, continue with each line that is written from then on.

    Raises:
        OperationError: If the engine does not respond.
    """
    try:
        with ExitStack() as stack:
            labels = [f"{HOSTING_LABEL}={get_hosting_id(context)}"]
            labels += [f"{MODEL_LABEL}={model}"] if model is not None else []
            labels += [f"{VERSION_LABEL}={version}"] if version is not None else []
            containers = [
                container
                for client in open_engines(context.spec.docker, stack).values()
                for container in client.containers.list(all=True, filters={"label": labels})
            ]
            containers.sort(key=lambda each: str(each.name))
            for container in containers:
                text: bytes = container.logs(tail=last)
                for line in text.decode(errors="replace").splitlines():
                    yield container.name, line
            if follow and containers:
                yield from _follow(containers)
    except EngineError as error:
        raise OperationError(str(error)) from error


def _follow(containers: list[Any]) -> Iterator[tuple[str, str]]:
    """Yield new lines of all containers, until all of them have ended."""
    lines: queue.Queue[tuple[str, str] | None] = queue.Queue(_QUEUED_LINES)

    def read(container: Any) -> None:
        rest = b""
        try:
            for chunk in container.logs(stream=True, follow=True, tail=0):
                *complete, rest = (rest + chunk).split(b"\n")
                for line in complete:
                    lines.put((container.name, line.decode(errors="replace")))
        finally:
            lines.put(None)

    for container in containers:
        threading.Thread(target=read, args=(container,), daemon=True).start()
    running = len(containers)
    while running:
        line = lines.get()
        if line is None:
            running -= 1
        else:
            yield line
