"""A container of the user's own that serves one model version, as plain data for every platform.

The container runs any server of the Open Inference Protocol. A platform gives it the same limits,
network and rollout as a berth with Berth's serving program, and asks the same paths whether it is
ready. It has no model card, so no platform knows its inputs.
"""

from dataclasses import dataclass

import pulumi

from berth_protocol.paths import LIVE, READY, model_path
from pulumi_berth.values import default_to

DEFAULT_PORT = 8080
LOWEST_PORT = 1024
"""A program without root cannot listen on a lower port."""
NO_CONTAINERS = (
    "needs a container engine, which the local platform does not use; run it on platform docker or "
    "kubernetes, or package the model with pre- and post-processing (berth package --with serve.py)"
)
"""The reason why the local platform rejects a container."""


@dataclass(frozen=True, kw_only=True)
class OwnContainerArgs:
    """A container of your own that serves a version, with the Open Inference Protocol."""

    image: pulumi.Input[str]
    """Image, `registry/name@sha256:...`. It passes the same checks as Berth's images: no root user,
    no shell, no package manager, and what the scanner requires."""
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


def get_image_digest(image: pulumi.Input[str]) -> pulumi.Output[str]:
    """Return the digest in a reference, which identifies the version like that of a model card."""
    return pulumi.Output.from_input(image).apply(lambda reference: reference.rpartition("@")[2])
