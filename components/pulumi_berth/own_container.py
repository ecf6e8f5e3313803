"""A container of the user's own that serves one model version, as plain data for every platform.

The container runs any server of the Open Inference Protocol. A platform gives it the same limits,
network and rollout as a berth with Berth's serving program, and asks the same paths whether it is
ready. It has no model card, so no platform knows its inputs.
"""

from dataclasses import dataclass
from pathlib import Path

import pulumi

from berth_protocol.paths import LIVE, READY, model_path
from pulumi_berth.own_container_rules import (
    DEFAULT_PORT,
    digest_context,
    find_context_problem,
)
from pulumi_berth.values import default_to


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
