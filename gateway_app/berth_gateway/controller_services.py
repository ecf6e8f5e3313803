"""Services for an ingress controller: where the share of each version goes while all are healthy.

In a cluster, the ingress controller splits the traffic and forwards it to the berths. Traefik polls
this document (its HTTP provider) and finds in it one service for each version with traffic. A route
refers to that service, so that the weights stay in the route, and the gateway decides only which
berths receive the share of an unhealthy one.
"""

from typing import Any
from urllib.parse import urlsplit

from berth_gateway.berth_health import Berth, BerthHealth
from berth_gateway.config import (
    GatewayConfig,
    Model,
    get_direct_name,
    get_share_name,
    normalize_name,
)


def find_watched_berths(config: GatewayConfig) -> list[Berth]:
    """Return the berths whose share can fail over in an ingress controller."""
    return [
        Berth(name, version, model.versions[version])
        for name, model in config.models.items()
        if _can_fail_over(model)
        for version in model.shares
    ]


def build_services(config: GatewayConfig, health: BerthHealth) -> dict[str, Any]:
    """Return Traefik's dynamic configuration.

    If all berths of a model are unhealthy, each version keeps its share.
    """
    services: dict[str, Any] = {}
    for name, model in config.models.items():
        if not _can_fail_over(model):
            continue
        healthy = [
            version
            for version in model.shares
            if health.is_healthy(Berth(name, version, model.versions[version]))
        ]
        for version in model.shares:
            targets = [version] if version in healthy or not healthy else healthy
            services[get_share_name(name, version)] = {
                "weighted": {
                    "services": [
                        {"name": _name_service(model.versions[target]), "weight": 1}
                        for target in targets
                    ]
                }
            }
    # Traefik rejects an empty map.
    return {"http": {"services": services}} if services else {}


def _can_fail_over(model: Model) -> bool:
    return model.failover and len(model.shares) > 1


def _name_service(url: str) -> str:
    """Return Traefik's name of the object that sends requests to a berth, from the berth's URL.

    Traefik joins the namespace and the name of a `TraefikService`
    (https://doc.traefik.io/traefik/reference/routing-configuration/kubernetes/crd/http/traefikservice/).
    """
    name, _, domain = (urlsplit(url).hostname or "").partition(".")
    joined = f"{domain.partition('.')[0]}-{get_direct_name(name)}"
    return f"{normalize_name(joined)}@kubernetescrd"
