"""What may differ between two stacks that are otherwise the same."""

from typing import Annotated

from pydantic import Field

from infra.spec.section import Section
from infra.spec.text import Text

KeyPattern = Annotated[
    str,
    Text(
        r"[a-z_]+(\.[a-z_]+|\.\*)*",
        "a key of the specification, a * standing for any name: node_pools.*.max",
    ),
]


_SIZES = [
    "api.domain",
    "api.throttle",
    "api.waf.requests_per_ip",
    "budget",
    "cluster.access",
    "cluster.public_cidrs",
    "data.replica_region",
    "edge.cdn.domain",
    "edge.cdn.price_class",
    "edge.latency",
    "gateway.clients",
    "models.*.replicas",
    "models.*.resources",
    "models.*.serving.workers",
    "models.*.traffic",
    "network.availability_zones",
    "network.cidr",
    "network.nat",
    "node_pools.*.desired",
    "node_pools.*.disk_gib",
    "node_pools.*.instance_types",
    "node_pools.*.max",
    "node_pools.*.min",
    "node_pools.*.spot",
    "observability.log_days",
    "observability.notify",
    "protect",
    "registry.replicate_to",
    "registry.source_stack",
    "tags",
]


class ParitySpec(Section):
    """What `berth parity` takes for a matter of size, and does not report."""

    sizes: list[KeyPattern] = Field(default=_SIZES, max_length=200)
    """Keys of the specification, with all that is under them, that may differ."""
