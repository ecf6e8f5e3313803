"""Rules of the specification that apply only to platform local."""

from collections.abc import Iterator

from berth.spec.errors import Problem
from berth.spec.models import ModelSpec
from pulumi_berth.own_container_rules import NO_CONTAINERS


def reject_containers(models: dict[str, ModelSpec]) -> Iterator[Problem]:
    """On local `models.<model>.versions.<version>.container` is rejected."""
    for name, model in models.items():
        for version, entry in model.versions.items():
            if entry.container is not None:
                yield Problem(
                    ("models", name, "versions", version, "container"), NO_CONTAINERS, False
                )
