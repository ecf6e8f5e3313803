"""The plan of a model's traffic: the rules of its HTTPRoute, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ModelTraffic:
    """Where one model's inference requests go.

    Attributes:
        model: its name.
        services: version -> name and port of its Service, for all that are deployed.
        exposed: versions that clients may ask for by name.
        traffic: version -> percent of the requests that name no version; the sum is 100.
        shadow: the version that gets copies of those requests.
    """

    model: str
    services: Mapping[str, tuple[Any, int]]
    exposed: Sequence[str]
    traffic: Mapping[str, int]
    shadow: str | None


def route_rules(plan: ModelTraffic, filters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One rule for requests that name no version, and one for each version that may be named.

    Args:
        filters: what every inference request passes first.

    A weight of 0 is left out: Gateway API would allow it, and an answer from there is an error.
    """
    split = [
        _backend(plan, version, percent) for version, percent in plan.traffic.items() if percent
    ]
    mirror = (
        [
            {
                "type": "RequestMirror",
                "requestMirror": {"backendRef": _backend(plan, plan.shadow)},
            }
        ]
        if plan.shadow
        else []
    )
    return [
        _rule(f"/v2/models/{plan.model}/infer", split, [*filters, *mirror]),
        *(
            _rule(
                f"/v2/models/{plan.model}/versions/{version}/infer",
                [_backend(plan, version)],
                list(filters),
            )
            for version in plan.exposed
        ),
    ]


def _rule(
    path: str, backends: list[dict[str, Any]], filters: list[Mapping[str, Any]]
) -> dict[str, Any]:
    # Only what infers: every other path, and every other method, is the gate's to answer.
    match = {"path": {"type": "Exact", "value": path}, "method": "POST"}
    return {"matches": [match], "filters": filters, "backendRefs": backends}


def _backend(plan: ModelTraffic, version: str, weight: int | None = None) -> dict[str, Any]:
    name, port = plan.services[version]
    return {"name": name, "port": port, **({} if weight is None else {"weight": weight})}
