"""The plan of a model's traffic: the rules of its HTTPRoute, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BackendRef = Mapping[str, Any]
"""What a rule sends requests to: a Service, or an object that the controller knows."""


@dataclass(frozen=True, kw_only=True)
class ModelTraffic:
    """Where one model's inference requests go.

    Attributes:
        model: its name.
        shared: version -> where its share of the requests that name no version goes; where there
            is a shadow version, by way of what copies them.
        traffic: version -> percent of those; the sum is 100.
        named: exposed version -> where the requests that name it go.
    """

    model: str
    shared: Mapping[str, BackendRef]
    traffic: Mapping[str, int]
    named: Mapping[str, BackendRef]


def service_ref(name: Any, port: int) -> BackendRef:
    """A Service as what a rule sends requests to; `name` may be a Pulumi output."""
    return {"name": name, "port": port}


def route_rules(plan: ModelTraffic, filters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One rule for requests that name no version, and one for each version that may be named.

    Args:
        filters: what every inference request passes first.

    A weight of 0 is left out: Gateway API would allow it, and an answer from there is an error.
    """
    split = [
        {**plan.shared[version], "weight": percent}
        for version, percent in plan.traffic.items()
        if percent
    ]
    return [
        _rule(f"/v2/models/{plan.model}/infer", split, filters),
        *(
            _rule(f"/v2/models/{plan.model}/versions/{version}/infer", [dict(backend)], filters)
            for version, backend in plan.named.items()
        ),
    ]


def _rule(
    path: str, backends: list[dict[str, Any]], filters: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    # Only what infers: every other path, and every other method, is the gate's to answer.
    match = {"path": {"type": "Exact", "value": path}, "method": "POST"}
    return {"matches": [match], "filters": list(filters), "backendRefs": backends}
