"""Names, labels and ports of a stack's objects in its namespace.

Commands that only read a cluster import this module instead of those that declare resources: the
SDK's classes take a second of CPU time to import.
"""

from collections.abc import Mapping, Sequence

from berth_gateway.config import get_direct_name
from pulumi_berth.kubernetes.berth_plan import get_berth_name
from pulumi_berth.kubernetes.objects import PART_OF

GATEWAY = "gateway"
"""Deployment of Berth's gateway."""
GATEWAY_LABELS = {"app.kubernetes.io/name": GATEWAY, "app.kubernetes.io/part-of": PART_OF}
"""Labels that select the pods of Berth's gateway."""
TRAEFIK = "traefik"
"""Deployment of the ingress controller."""
TRAEFIK_LABELS = {"app.kubernetes.io/name": TRAEFIK, "app.kubernetes.io/part-of": PART_OF}
"""Labels that select the pods of the ingress controller."""
TOKEN_KEY = "token"  # noqa: S105 - the name of an entry
"""Entry of the Secret that contains the berths' token."""
TOKEN_DIRECTORY = "/etc/berth"  # noqa: S105 - a directory
"""Directory of the token in a berth's container."""
BERTH_TOKEN_FILE = f"{TOKEN_DIRECTORY}/{TOKEN_KEY}"
"""Path of the token in a berth's container."""
METRICS_PORT = 9090
"""Port of the metrics of a berth and of Berth's gateway."""
# Model names contain no dot, so that no model's HTTPRoute has this name.
ROUTE = "berth.gateway"
"""Name of the HTTPRoute of all requests that no model's own route takes."""
OTHER_HOSTS = "berth.other-hosts"
"""Name of the route of all other host names, if the stack has host names."""
MONITORING = "berth-monitoring"
"""Name of the PrometheusRule and of the ConfigMap with the dashboard."""
OBJECT_NAMES = (GATEWAY, ROUTE, OTHER_HOSTS, "valkey")
"""Names of the objects in every stack's namespace. The other names contain a model's name."""
CONTROLLER_OBJECT_NAMES = (
    TRAEFIK,
    "authorize",
    "errors",
    "body-errors",
    "remove-headers",
    "retry",
)
"""Names of the objects of the ingress controller."""


def list_object_names(
    versions: Mapping[str, Sequence[str]],
    *,
    has_controller: bool = True,
    has_monitoring: bool = False,
) -> list[str]:
    """Return the names of a stack's objects in its namespace, for the check of their owner.

    Args:
        versions: Versions of each model.
        has_controller: Whether the stack runs its own ingress controller, with a route per model.
        has_monitoring: Whether the stack has alerting rules and a dashboard.
    """
    berths = [
        get_berth_name(model, version) for model, names in versions.items() for version in names
    ]
    backends = [get_direct_name(berth) for berth in berths]
    controller = [*CONTROLLER_OBJECT_NAMES, *versions, *backends] if has_controller else []
    monitoring = [MONITORING] if has_monitoring else []
    return [*OBJECT_NAMES, *controller, *monitoring, *berths]
