"""The configuration of a running gateway with the traffic of another specification."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from berth.spec.models import ModelSpec
from pulumi_berth.traffic_rules import get_receivers

if TYPE_CHECKING:
    from berth_gateway.config import Model


def shift_gateway_config(
    content: Mapping[str, Any], models: Mapping[str, ModelSpec]
) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration with the traffic, shadow and exposed versions of `models`.

    Everything else stays as deployed, such as keys, limits and addresses. For models whose versions
    do not change, this is the configuration that an update to their specification deploys.

    Args:
        content: The deployed configuration, in the form of the gateway's file.

    Returns:
        The configuration, and the models whose entries changed. A model with traffic for a version
        that the gateway does not know is left out.
    """
    import msgspec

    from berth_gateway.config import convert_config

    config = convert_config(content)
    shifted = {
        name: _shift(model, models[name])
        for name, model in config.models.items()
        if name in models and get_receivers(models[name].traffic).keys() <= model.versions.keys()
    }
    changed = [name for name, model in shifted.items() if model != config.models[name]]
    result: dict[str, Any] = msgspec.to_builtins(
        msgspec.structs.replace(config, models={**config.models, **shifted})
    )
    convert_config(result)  # A gateway would reject an invalid one after it was written.
    return result, changed


def _shift(deployed: "Model", wanted: ModelSpec) -> "Model":
    """Return the entry with the traffic of `wanted`, as far as its versions are deployed."""
    import msgspec

    known = deployed.versions
    return msgspec.structs.replace(
        deployed,
        traffic={name: percent for name, percent in wanted.traffic.items() if name in known},
        shadow=wanted.shadow if wanted.shadow in known else None,
        exposed=[version for version in wanted.exposed_versions if version in known],
    )
