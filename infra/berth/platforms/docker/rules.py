"""Rules of the specification that apply only to platform docker."""

from collections.abc import Iterator

from berth.spec.errors import Problem
from berth.spec.images import RegistrySpec
from berth.spec.models import ModelSpec

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


RULES = (_registry_keys, _pinned_images)
