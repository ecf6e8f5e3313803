"""Which models an update back to an earlier specification can serve at once: their berths run."""

from collections.abc import Mapping
from typing import Any

from berth.spec import HostingSpec, ModelSpec, VersionSpec
from pulumi_berth.traffic_rules import get_receivers


def find_warm_models(
    current: HostingSpec, target: HostingSpec, observed: Mapping[str, Any]
) -> list[str]:
    """Return the models whose requests can move to the target's versions without an update.

    All versions with traffic in `target` are ready, and configured as they were. A model whose
    traffic does not change is left out.

    Args:
        current: The specification of the latest update.
        observed: What `Platform.observe` returns.
    """
    return [
        name
        for name, model in target.models.items()
        if name in current.models and _is_warm(name, current.models[name], model, observed)
    ]


def _is_warm(name: str, current: ModelSpec, target: ModelSpec, observed: Mapping[str, Any]) -> bool:
    before, after = get_receivers(current.traffic), get_receivers(target.traffic)
    running = observed["models"].get(name, {"versions": {}})["versions"]
    return before != after and all(
        version in current.versions
        and _describe(current.versions[version]) == _describe(target.versions[version])
        and running.get(version, {}).get("state") == "ready"
        for version in after
    )


def _describe(version: VersionSpec) -> VersionSpec:
    """Return what of a version decides about its answers."""
    return version.model_copy(update={"exposed": None, "standby": "warm"})
