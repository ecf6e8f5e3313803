"""A container of the user's own that serves one model version, as plain data for every platform.

The container runs any server of the Open Inference Protocol. A platform gives it the same limits,
network and rollout as a berth with Berth's serving program, and asks the same paths whether it is
ready. It has no model card, so no platform knows its inputs.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pulumi

from berth_protocol.paths import LIVE, READY, model_path
from pulumi_berth.values import default_to

DOCKERFILE = "Dockerfile"
DEFAULT_PORT = 8080
LOWEST_PORT = 1024
"""A program without root cannot listen on a lower port."""
NO_CONTAINERS = (
    "does not run on this platform; run it on kubernetes or aws, or package the model with "
    "processing of your own (berth package --with serve.py)"
)
"""The reason why platforms local and docker reject a container."""


class ContextBuildError(RuntimeError):
    """A build context that cannot be built. The message names the directory and the fix."""


def find_context_problem(directory: Path) -> str | None:
    """Return why a directory is not a build context, or None."""
    if (directory / DOCKERFILE).is_file():
        return None
    return f"{directory} contains no {DOCKERFILE}; correct the path, or write one"


def digest_context(directory: Path) -> str:
    """Return `sha256:<hex>` of all files of a build context, by path, mode and content.

    A change builds a new image. What a Dockerfile downloads is not part of the digest.

    Raises:
        ContextBuildError: If the directory is not a build context, or cannot be read.
    """
    if problem := find_context_problem(directory):
        raise ContextBuildError(f"{problem}.")
    total = hashlib.sha256()
    try:
        for path in _list_files(directory):
            total.update(f"{path.relative_to(directory).as_posix()}\0".encode())
            if path.is_symlink():
                total.update(b"link\0" + os.fsencode(path.readlink()) + b"\0")
                continue
            total.update(b"program\0" if os.access(path, os.X_OK) else b"file\0")
            with path.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
    except OSError as error:
        raise ContextBuildError(
            f"{error.filename}: cannot read the build context ({error.strerror})."
        ) from error
    return f"sha256:{total.hexdigest()}"


def _list_files(directory: Path) -> Iterator[Path]:
    for parent, directories, files in os.walk(directory):
        directories.sort()
        for name in sorted(files + [d for d in directories if Path(parent, d).is_symlink()]):
            yield Path(parent, name)


@dataclass(frozen=True, kw_only=True)
class OwnContainerArgs:
    """A container of your own that serves a version, with the Open Inference Protocol."""

    image: pulumi.Input[str] | None = None
    """Image, `registry/name@sha256:...`. It passes the same checks as Berth's images: no root user,
    no shell, no package manager, and what the scanner requires. Set it or `context`."""
    context: str | None = None
    """Directory with a Dockerfile, from which a Docker engine builds the image. A relative path
    starts at the working directory of the program."""
    port: int | None = None
    """TCP port that its server listens on. Defaults to 8080."""


@dataclass(frozen=True, kw_only=True)
class OwnContainerPlan:
    """What a platform needs to know about such a container.

    Attributes:
        port: TCP port of the server.
        started_path: Responds with 200 once the server serves this model and version.
        ready_path: Responds with 200 while the server accepts requests.
        live_path: Responds with 200 while the server works.
    """

    port: int
    started_path: str
    ready_path: str
    live_path: str


def plan_own_container(container: OwnContainerArgs, model: str, version: str) -> OwnContainerPlan:
    """Return how a platform runs and checks a container.

    The model's metadata shows that the server knows the model and version by the names that
    requests contain. Every other server would answer them with 404.
    """
    return OwnContainerPlan(
        port=default_to(container.port, DEFAULT_PORT),
        started_path=model_path(model, version),
        ready_path=READY,
        live_path=LIVE,
    )


def find_container_problem(container: OwnContainerArgs) -> str | None:
    """Return why the image of a container is not known, or None."""
    if (container.image is None) == (container.context is None):
        return "needs one of image and context"
    return None if container.context is None else find_context_problem(Path(container.context))


def get_container_digest(container: OwnContainerArgs) -> pulumi.Input[str]:
    """Return what identifies the version: the digest of the image, or of the build context."""
    if container.context is not None:
        return digest_context(Path(container.context).resolve())
    return pulumi.Output.from_input(container.image).apply(
        lambda reference: str(reference).rpartition("@")[2]
    )
