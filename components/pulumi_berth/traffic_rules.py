"""How a model's versions share its requests, and which divisions are invalid.

The specification and the public components apply the same rules. This module imports no Pulumi,
because commands that only read the specification must start fast.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class VersionUse:
    """How one deployed version is used.

    Attributes:
        exposed: Whether clients can call the version by name. If None, while it has traffic.
        is_cold: Whether the version has no replica while it receives no requests.
    """

    exposed: bool | None = None
    is_cold: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelUse:
    """How the versions of one model are used.

    Attributes:
        versions: Deployed versions by name.
        traffic: Percentage of the requests without a version that each version receives.
        shadow: Version that receives copies of requests.
    """

    versions: Mapping[str, VersionUse]
    traffic: Mapping[str, int]
    shadow: str | None = None


@dataclass(frozen=True)
class TrafficProblem:
    """An invalid value.

    Attributes:
        path: Path of the value below the model, such as `("traffic", "3")`.
        message: What is wrong with the value, and what to do. It follows the path and the value.
        value: The value.
    """

    path: tuple[str, ...]
    message: str
    value: object


def complete_traffic(
    traffic: Mapping[str, int] | None, versions: Mapping[str, object]
) -> dict[str, int]:
    """Return the percentage of each version. A single version receives all requests by default."""
    if not traffic and len(versions) == 1:
        return dict.fromkeys(versions, 100)
    return dict(traffic or {})


def get_receivers(traffic: Mapping[str, int]) -> dict[str, int]:
    """Return the versions that receive requests, with their percentages."""
    return {version: percent for version, percent in traffic.items() if percent}


def find_exposed_versions(model: ModelUse) -> list[str]:
    """Return the versions that clients can call by name."""
    return [
        version
        for version, use in model.versions.items()
        if (model.traffic.get(version, 0) > 0 if use.exposed is None else use.exposed)
    ]


def find_traffic_problems(model: ModelUse) -> Iterator[TrafficProblem]:
    """Yield what is invalid in the division of a model's requests."""
    traffic, shadow = model.traffic, model.shadow
    known = f"known versions: {', '.join(model.versions)}"
    for version, percent in traffic.items():
        path = ("traffic", version)
        if version not in model.versions:
            yield TrafficProblem(path, f"is set for unknown version {version}; {known}", percent)
        if not 0 <= percent <= 100:
            yield TrafficProblem(path, "is not a percentage; use 0 to 100", percent)
    if not traffic:
        message = f"is missing; set percentages that add up to 100; {known}"
        yield TrafficProblem(("traffic",), message, None)
    elif (total := sum(traffic.values())) != 100:
        message = f"adds up to {total}; change the percentages so that they add up to 100"
        yield TrafficProblem(("traffic",), message, dict(traffic))
    if shadow is not None and shadow not in model.versions:
        yield TrafficProblem(("shadow",), f"is not a version of this model; {known}", shadow)
    elif shadow is not None and traffic.get(shadow, 0) > 0:
        message = f"receives {traffic[shadow]}% of the traffic; a shadow version must receive none"
        yield TrafficProblem(("shadow",), message, shadow)
    exposed = find_exposed_versions(model)
    for version, use in model.versions.items():
        if use.exposed is False and traffic.get(version, 0) > 0:
            yield TrafficProblem(
                ("versions", version, "exposed"),
                f"is not possible for a version with {traffic[version]}% of the traffic; expose it "
                "or move its traffic to another version",
                False,
            )
        if use.is_cold and (version in exposed or version == shadow):
            yield TrafficProblem(
                ("versions", version, "standby"),
                "requires a version that receives no requests, but this version is exposed or the "
                "shadow version; use warm",
                "cold",
            )
