"""The whole specification of a stack."""

from typing import Literal

from infra.spec.gateway import GatewaySpec
from infra.spec.local import LocalSpec
from infra.spec.models import Models
from infra.spec.section import Section


class HostingSpec(Section):
    """What one environment runs: the keys `berth:<section>` of its configuration."""

    platform: Literal["local", "kubernetes", "aws"]
    """Where the stack runs: this machine, any Kubernetes cluster, or AWS."""
    models: Models
    """The models, by name."""
    gateway: GatewaySpec = GatewaySpec()
    """The front door: clients, keys, throttle, limits."""
    local: LocalSpec = LocalSpec()
    """What only the local platform needs."""
