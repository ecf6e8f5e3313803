"""Comparing two stacks: the other stack, and the keys that may differ."""

from typing import Annotated

from pydantic import Field

from berth.spec.fields import Section, StackName, Text

KeyPattern = Annotated[
    str,
    Text(
        r"[a-z_]+(\.[a-z_]+|\.\*)*",
        "a key of the specification, with * for any name, such as node_pools.*.max",
    ),
]

_MAY_DIFFER = [
    "api.domain",
    "api.rate_limit",
    "api.waf.requests_per_ip",
    "budget",
    "cluster.access",
    "cluster.private_cidrs",
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
    "models.*.versions.*.image",
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
    """The stack to compare this one with, and the keys that the comparison ignores."""

    stack: StackName | None = None
    """Stack that this one must match. Every preview of this stack reports the differences."""
    may_differ: list[KeyPattern] = Field(default=_MAY_DIFFER, max_length=200)
    """Keys of the specification that may differ, including all keys below them. Berth also ignores
    every difference between resources that results from them."""
