"""`berth capture`: the captured requests of a version, from all of its replicas."""

from collections.abc import Iterable
from pathlib import Path

from berth.errors import OperationError
from berth.platforms import get_platform
from berth.platforms.stack_context import StackContext
from pulumi_berth.files import replace_atomically


def read_captured(
    context: StackContext, outputs: dict[str, object], model: str, version: str
) -> list[str]:
    """Return the captured requests as lines of JSON, the oldest first.

    Raises:
        OperationError: If the version is unknown or captures nothing, or if no replica responds.
    """
    entry = context.spec.models.get(model)
    if entry is None or version not in entry.versions:
        known = [f"{name} {v}" for name, m in context.spec.models.items() for v in m.versions]
        raise OperationError(
            f"Stack '{context.stack}' has no version {version} of {model}. It has: "
            f"{', '.join(known)}."
        )
    if not entry.capture.percent or entry.versions[version].container is not None:
        raise OperationError(
            f"{model} {version} captures no requests. Set berth:models.{model}.capture.percent in "
            f"Pulumi.{context.stack}.yaml, then run 'berth up'. A container of your own captures "
            "none."
        )
    texts = get_platform(context.spec.platform).read_captured(context, outputs, model, version)
    if not texts:
        raise OperationError(
            f"No replica of {model} {version} responded. Run 'berth status -s {context.stack}'."
        )
    return merge_lines(texts)


def merge_lines(texts: Iterable[str]) -> list[str]:
    """Return the lines of all replicas by time. Each begins with the time in ISO format."""
    return sorted(line for text in texts for line in text.splitlines())


def write_captured(lines: list[str], path: Path) -> None:
    """Write the lines to a file that only its owner can read.

    Raises:
        OperationError: If the file cannot be written.
    """
    try:
        replace_atomically(path, "".join(f"{line}\n" for line in lines), mode=0o600)
    except OSError as error:
        raise OperationError(
            f"Cannot write {path}: {error.strerror}. Choose another file with --out."
        ) from error
