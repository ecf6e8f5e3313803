"""What may differ between two stacks that are otherwise the same."""

from typing import Annotated

from pydantic import Field

from berth.spec.section import Section
from berth.spec.text import StackName, Text

KeyPattern = Annotated[
    str,
    Text(
        r"[a-z_]+(\.[a-z_]+|\.\*)*",
        "a key of the specification, a * standing for any name: node_pools.*.max",
    ),
]


_SIZES = [
    "api.domain",
    "api.rate_limit",
    "api.waf.requests_per_ip",
    "budget",
    "cluster.access",
    "cluster.public_cidrs",
    "data.archive_after_days",
    "data.noncurrent_version_days",
    "data.replica_region",
    "edge.cdn.domain",
    "edge.cdn.price_class",
    "edge.cdn.requests_per_ip",
    "edge.latency_routing",
    "encryption.deletion_window_days",
    "gateway.clients",
    "models.*.replicas",
    "models.*.resources",
    "models.*.serving.workers",
    "models.*.traffic",
    "network.availability_zones",
    "network.cidr",
    "network.flow_log_days",
    "network.interface_endpoints",
    "network.nat",
    "node_pools.*.desired",
    "node_pools.*.disk_gib",
    "node_pools.*.instance_types",
    "node_pools.*.max",
    "node_pools.*.min",
    "node_pools.*.spot",
    "observability.alarms",
    "observability.log_days",
    "observability.notify",
    "protect",
    "registry.keep_images",
    "registry.readers",
    "registry.replicate_to",
    "registry.source_account",
    "registry.source_stack",
    "tags",
]


class ParitySpec(Section):
    """What a stack shall be like, and what is a matter of size."""

    stack: StackName | None = None
    """The stack that this one shall be like: every preview of this one tells of departures."""
    may_differ: list[KeyPattern] = Field(default=_SIZES, max_length=200)
    """Keys of the specification, with all that is under them, that may differ; what follows from
    them is no departure."""
