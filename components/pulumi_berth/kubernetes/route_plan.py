"""The plan of a model's route: the rules of its HTTPRoute, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berth_protocol.headers import TRAFFIC, UNKNOWN_LENGTH
from berth_protocol.paths import infer_path

BackendRef = Mapping[str, Any]
"""The destination of a rule: a Service, or an object that the ingress controller supports."""

# Requests whose body has a length below 200,000 bytes. Longer ones, and those without a length,
# reach the gateway. Errors precede the body, and a controller written in Go closes a connection
# with more than 256 KiB of a body left, so that clients get a reset instead of the error
# (`maxPostHandlerReadBytes`): https://github.com/golang/go/blob/go1.26.0/src/net/http/server.go
_SHORT_BODY = {
    "type": "RegularExpression",
    "name": "Content-Length",
    "value": "^1?[0-9]{1,5}$",
}
KNOWN_LENGTH = {"type": "RegularExpression", "name": "Content-Length", "value": "^[0-9]+$"}
"""Condition of requests that state the length of their body. The others have no body, or chunks."""
# https://gateway-api.sigs.k8s.io/reference/spec/: HTTPRouteSpec.rules, version 1.4.0.
_MAX_RULES = 16


@dataclass(frozen=True, kw_only=True)
class RoutePlan:
    """Destinations of one model's inference requests.

    Attributes:
        model: Model name.
        split_backends: Backend of each version for requests without a version. If there is none,
            the gateway receives these requests.
        traffic: Percentage of those requests per version. The percentages add up to 100.
        version_backends: Backend of each exposed version for requests that name the version.
        gateway: Backend of requests with a long body.
    """

    model: str
    split_backends: Mapping[str, BackendRef]
    traffic: Mapping[str, int]
    version_backends: Mapping[str, BackendRef]
    gateway: BackendRef


def build_service_ref(name: Any, port: int) -> BackendRef:
    """Return the backend reference of a Service. The name may be a Pulumi output."""
    return {"name": name, "port": port}


def build_route_rules(
    plan: RoutePlan,
    filters: Sequence[Mapping[str, Any]],
    body_filters: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Return three rules for requests without a version, and one rule per exposed version.

    The second and third rule send requests with a long body, and those of unknown length, to the
    gateway, and state the weights. Requests that match no rule reach the gateway as well: those
    that name a version beyond the number of rules that a route can have.

    Versions with weight 0 are omitted. The Gateway API allows them, but a response from such a
    backend is an error.

    Args:
        filters: Filters that apply to every inference request that a berth receives directly.
        body_filters: Filters of requests of unknown length.
    """
    shares = {version: percent for version, percent in plan.traffic.items() if percent}
    split = [
        {**plan.split_backends[version], "weight": percent} for version, percent in shares.items()
    ]
    short, path = {"headers": [_SHORT_BODY]}, infer_path(plan.model)
    weights = {TRAFFIC: ",".join(f"{version}={percent}" for version, percent in shares.items())}
    without_version = [
        _build_rule(path, split, filters, **short),
        _build_rule(path, [dict(plan.gateway)], [_set_headers(weights)], headers=[KNOWN_LENGTH]),
        _build_rule(
            path,
            [dict(plan.gateway)],
            [*body_filters, _set_headers({**weights, UNKNOWN_LENGTH: "1"})],
        ),
    ]
    with_version = [
        _build_rule(infer_path(plan.model, version), [dict(backend)], filters, **short)
        for version, backend in plan.version_backends.items()
    ]
    return [*(without_version if split else []), *with_version][:_MAX_RULES]


def build_gateway_rules(
    service: Any, port: int, body_filters: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the rules of all requests that no model's route takes.

    Args:
        service: Name of the gateway's Service, which may be a Pulumi output.
        body_filters: Filters of requests of unknown length. If there are none, the ingress
            controller is not the stack's own, and needs to support only one path.
    """
    backend = {"backendRefs": [build_service_ref(service, port)]}
    path = {"path": {"type": "PathPrefix", "value": "/"}}
    if not body_filters:
        return [{"matches": [path], **backend}]
    return [
        {"matches": [{**path, "headers": [KNOWN_LENGTH]}], **backend},
        {
            "matches": [path],
            "filters": [*body_filters, _set_headers({UNKNOWN_LENGTH: "1"})],
            **backend,
        },
    ]


def _set_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    values = [{"name": name, "value": value} for name, value in headers.items()]
    return {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": values}}


def _build_rule(
    path: str,
    backends: list[dict[str, Any]],
    filters: Sequence[Mapping[str, Any]],
    **conditions: Any,
) -> dict[str, Any]:
    # Match only inference requests. The gateway responds to all other paths and methods. It accepts
    # a slash at the end of a path, so without the second match it would forward such a request
    # itself, without the weights.
    matches = [
        {"path": {"type": "Exact", "value": value}, "method": "POST", **conditions}
        for value in (path, f"{path}/")
    ]
    return {"matches": matches, "filters": list(filters), "backendRefs": backends}
