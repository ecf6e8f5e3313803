"""The plan of a model's route: the rules of its HTTPRoute, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berth_protocol.paths import infer_path

BackendRef = Mapping[str, Any]
"""The destination of a rule: a Service, or an object that the ingress controller supports."""


@dataclass(frozen=True, kw_only=True)
class RoutePlan:
    """Destinations of one model's inference requests.

    Attributes:
        model: Model name.
        split_backends: Backend of each version for requests without a version. If there is none,
            the gateway receives these requests.
        traffic: Percentage of those requests per version. The percentages add up to 100.
        version_backends: Backend of each exposed version for requests that name the version.
    """

    model: str
    split_backends: Mapping[str, BackendRef]
    traffic: Mapping[str, int]
    version_backends: Mapping[str, BackendRef]


def build_service_ref(name: Any, port: int) -> BackendRef:
    """Return the backend reference of a Service. The name may be a Pulumi output."""
    return {"name": name, "port": port}


def build_route_rules(
    plan: RoutePlan, filters: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return one rule for requests without a version, and one rule per exposed version.

    Requests that match no rule reach the gateway.

    Versions with weight 0 are omitted. The Gateway API allows them, but a response from such a
    backend is an error.

    Args:
        filters: Filters that apply to every inference request.
    """
    split = [
        {**plan.split_backends[version], "weight": percent}
        for version, percent in plan.traffic.items()
        if percent
    ]
    return [
        *([_build_rule(infer_path(plan.model), split, filters)] if split else []),
        *(
            _build_rule(infer_path(plan.model, version), [dict(backend)], filters)
            for version, backend in plan.version_backends.items()
        ),
    ]


def _build_rule(
    path: str, backends: list[dict[str, Any]], filters: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    # Match only inference requests. The gateway responds to all other paths and methods. It accepts
    # a slash at the end of a path, so without the second match it would forward such a request
    # itself, without the weights.
    matches = [
        {"path": {"type": "Exact", "value": value}, "method": "POST"}
        for value in (path, f"{path}/")
    ]
    return {"matches": matches, "filters": list(filters), "backendRefs": backends}
