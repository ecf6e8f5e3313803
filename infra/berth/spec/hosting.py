"""The whole specification of a stack."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from berth.spec import rules
from berth.spec.api import ApiSpec
from berth.spec.budget import BudgetSpec
from berth.spec.cluster import ClusterSpec
from berth.spec.data import DataSpec
from berth.spec.edge import EdgeSpec
from berth.spec.encryption import EncryptionSpec
from berth.spec.errors import refuse
from berth.spec.gateway import GatewaySpec
from berth.spec.images import ImageSpec
from berth.spec.kubernetes import KubernetesSpec
from berth.spec.local import LocalSpec
from berth.spec.models import Models
from berth.spec.network import NetworkSpec
from berth.spec.node_pool import NodePoolSpec, PoolName
from berth.spec.observability import ObservabilitySpec
from berth.spec.parity import ParitySpec
from berth.spec.policy import PolicySpec
from berth.spec.registry import RegistrySpec
from berth.spec.section import Section
from berth.spec.text import Text

PlatformName = Literal["local", "kubernetes", "aws"]
PLATFORM_NAMES: tuple[PlatformName, ...] = get_args(PlatformName)

TagKey = Annotated[
    str,
    Text(
        r"(?!aws:)(?!berth:)[A-Za-z0-9 _.:\/=+@-]{1,128}",
        "1 to 128 letters, digits, spaces and _.:/=+-@, not beginning with aws: or berth:",
    ),
]
TagValue = Annotated[
    str, Text(r"[A-Za-z0-9 _.:\/=+@-]{1,256}", "1 to 256 letters, digits, spaces and _.:/=+-@")
]


def _text_as_boolean(value: Any) -> Any:
    """Pulumi writes a scalar right under `config:` as text when it rewrites the file."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


Switch = Annotated[
    bool,
    BeforeValidator(_text_as_boolean),
    Field(
        json_schema_extra={
            "type": ["boolean", "string"],
            "enum": [True, False, "true", "false"],
            "patternErrorMessage": "true or false",
        }
    ),
]


class HostingSpec(Section):
    """What one environment runs: the keys `berth:<section>` of its configuration."""

    platform: PlatformName
    """Where the stack runs: this machine, any Kubernetes cluster, or AWS."""
    models: Models
    """The models, by name."""
    gateway: GatewaySpec = GatewaySpec()
    """The front door: clients, keys, throttle, limits."""
    parity: ParitySpec = ParitySpec()
    """What may differ between two stacks that are otherwise the same."""
    policy: PolicySpec = PolicySpec()
    """Accepted exceptions from the security baseline."""
    local: LocalSpec = LocalSpec()
    """What only the local platform needs."""
    kubernetes: KubernetesSpec = KubernetesSpec()
    """The cluster that berths run on."""
    images: ImageSpec = ImageSpec()
    """Container images: what they are built on, and the gate that they pass."""
    registry: RegistrySpec = RegistrySpec()
    """The registry that images are pushed to and pulled from."""
    data: DataSpec = DataSpec()
    """The data layer: what models read at run time."""
    edge: EdgeSpec = EdgeSpec()
    """Edge sites, CloudFront and latency records."""
    network: NetworkSpec = NetworkSpec()
    """The virtual network."""
    cluster: ClusterSpec = ClusterSpec()
    """The EKS cluster."""
    node_pools: dict[PoolName, NodePoolSpec] = Field(default={}, max_length=30)
    """Groups of nodes, by name."""
    api: ApiSpec = ApiSpec()
    """API Gateway and its firewall."""
    encryption: EncryptionSpec = EncryptionSpec()
    """The customer keys."""
    observability: ObservabilitySpec = ObservabilitySpec()
    """Logs, dashboards and alarms."""
    budget: BudgetSpec | None = None
    """What the stack may cost; no budget is watched when omitted."""
    protect: Switch = False
    """Whether what holds data (registry, buckets, keys, cluster) refuses to be deleted."""
    tags: dict[TagKey, TagValue] = Field(default={}, max_length=40)
    """Tags of every AWS resource, beside Berth's own."""

    _aws: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def aws(self) -> Mapping[str, Any]:
        """The AWS provider's own settings (`aws:region` and such), without their prefix."""
        return self._aws

    def with_aws(self, settings: Mapping[str, Any]) -> "HostingSpec":
        """The same with these settings of the AWS provider."""
        self._aws.update(settings)
        return self

    @model_validator(mode="after")
    def _check(self) -> "HostingSpec":
        refuse(rules.problems(dict(self)))
        return self


def find_readers(section: str) -> tuple[PlatformName, ...]:
    """Return the platforms that read a section."""
    # The platforms import the specification.
    from berth.platforms import get_platform

    readers = tuple(name for name in PLATFORM_NAMES if section in get_platform(name).sections)
    return readers or PLATFORM_NAMES
