"""Rules of the specification that apply only to platform docker."""

from collections.abc import Iterator

from berth.platforms.docker.hosts import build_demands, build_hosts
from berth.spec.docker import DockerSpec
from berth.spec.errors import Problem
from berth.spec.images import RegistrySpec
from berth.spec.models import ModelSpec
from pulumi_berth.docker.placement import PlacementError, place

_REGISTRY_KEYS = ("url", "plain_http")


def _registry_keys(registry: RegistrySpec) -> Iterator[Problem]:
    """On docker `registry` has only `url` and `plain_http`."""
    for key in sorted(registry.model_fields_set - set(_REGISTRY_KEYS)):
        yield Problem(("registry", key), "does not apply to platform docker; remove it", False)


def _pinned_images(models: dict[str, ModelSpec], registry: RegistrySpec) -> Iterator[Problem]:
    """On docker the `image` of a version requires `registry.url`."""
    for name, model in models.items():
        for version, entry in model.versions.items():
            if entry.image is not None and registry.url is None:
                yield Problem(
                    ("models", name, "versions", version, "image"),
                    "is an image of a registry, and registry.url is missing; set it, or remove "
                    "image",
                )


def _placement(models: dict[str, ModelSpec], docker: DockerSpec) -> Iterator[Problem]:
    """On docker each replica fits on one of `docker.hosts`, if there are any."""
    if not docker.hosts:
        return
    try:
        place(build_hosts(docker), build_demands(models))
    except PlacementError as error:
        for berth, problem in error.problems.items():
            name, _, version = berth.partition("/")
            yield Problem(
                ("models", name, "versions", version),
                f"{problem}. Lower its resources or replicas, or add a host",
                False,
            )


RULES = (_registry_keys, _pinned_images, _placement)
