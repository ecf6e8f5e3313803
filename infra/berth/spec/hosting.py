"""The complete specification of a stack."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from berth.spec import rules
from berth.spec.aws import ApiSpec, BudgetSpec, EncryptionSpec, NetworkSpec, ObservabilitySpec
from berth.spec.cluster import ClusterSpec, NodePoolSpec, PoolName
from berth.spec.data import DataSpec
from berth.spec.docker import DockerSpec
from berth.spec.edge import EdgeSpec
from berth.spec.errors import Problem, build_rule_error, raise_problems
from berth.spec.fields import Port, Section, Text
from berth.spec.gateway import GatewaySpec
from berth.spec.images import ImageSpec, RegistrySpec
from berth.spec.kubernetes import KubernetesSpec
from berth.spec.models import Models
from berth.spec.parity import ParitySpec
from berth.spec.policy import PolicySpec
from berth.spec.signatures import TrustedIdentities, TrustedKeys

PlatformName = Literal["local", "docker", "kubernetes", "aws"]
PLATFORM_NAMES: tuple[PlatformName, ...] = get_args(PlatformName)

TagKey = Annotated[
    str,
    Text(
        r"(?!aws:)(?!berth:)[A-Za-z0-9 _.:\/=+@-]{1,128}",
        "1 to 128 letters, digits, spaces and _.:/=+-@, not starting with aws: or berth:",
    ),
]
TagValue = Annotated[
    str, Text(r"[A-Za-z0-9 _.:\/=+@-]{1,256}", "1 to 256 letters, digits, spaces and _.:/=+-@")
]


def _text_to_boolean(value: Any) -> Any:
    """Convert text to a boolean: Pulumi writes top-level scalars as text when it edits the file."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


Switch = Annotated[
    bool,
    BeforeValidator(_text_to_boolean),
    Field(
        json_schema_extra={
            "type": ["boolean", "string"],
            "enum": [True, False, "true", "false"],
            "patternErrorMessage": "true or false",
        }
    ),
]


class LocalSpec(Section):
    """Settings of the local platform."""

    gateway_port: Port | None = None
    """TCP port on 127.0.0.1 for clients. By default, Berth picks a free port and keeps it."""
    admin_port: Port | None = None
    """TCP port on 127.0.0.1 for the gateway's metrics. By default, Berth picks a free port and
    keeps it."""

    @model_validator(mode="after")
    def _check_ports(self) -> "LocalSpec":
        if self.gateway_port is not None and self.gateway_port == self.admin_port:
            raise build_rule_error(
                Problem(("admin_port",), "is also gateway_port; use two different ports")
            )
        return self


class HostingSpec(Section):
    """The specification of an environment: the keys `berth:<section>` of its configuration."""

    platform: PlatformName
    """Platform of the stack: this machine, a Docker engine, any Kubernetes cluster, or AWS."""
    models: Models
    """Models by name."""
    gateway: GatewaySpec = Field(default_factory=GatewaySpec)
    """Gateway: clients, API keys, rate limits and request limits."""
    parity: ParitySpec = Field(default_factory=ParitySpec)
    """Stack to compare this one with, and what may differ."""
    policy: PolicySpec = Field(default_factory=PolicySpec)
    """Accepted exceptions from the security baseline."""
    require_signature: TrustedKeys = Field(default=[])
    """Public keys that are trusted: each a file of the project, or the key itself in PEM format. If
    there are any, a version whose files none of them signed is not deployed, and an image that is
    pulled from a registry instead of built needs a signature by one of them too. By default, no
    signature is required."""
    trusted_identities: TrustedIdentities = Field(default={})
    """Identities of Sigstore that are trusted, by a name of your choice. If there are any, a
    version is deployed only if one of them or a key in require_signature signed it. Images need a
    signature by a key."""
    local: LocalSpec = Field(default_factory=LocalSpec)
    """Settings of the local platform."""
    docker: DockerSpec = Field(default_factory=DockerSpec)
    """Docker engine that the berths run on."""
    kubernetes: KubernetesSpec = Field(default_factory=KubernetesSpec)
    """Kubernetes cluster that the berths run on."""
    images: ImageSpec = Field(default_factory=ImageSpec)
    """Settings for building and checking container images."""
    registry: RegistrySpec = Field(default_factory=RegistrySpec)
    """Registry that Berth pushes images to and pulls them from."""
    data: DataSpec = Field(default_factory=DataSpec)
    """Reference data that models read at run time."""
    edge: EdgeSpec = Field(default_factory=EdgeSpec)
    """Edge sites, CloudFront and latency-based routing."""
    network: NetworkSpec = Field(default_factory=NetworkSpec)
    """VPC and its subnets."""
    cluster: ClusterSpec = Field(default_factory=ClusterSpec)
    """EKS cluster."""
    node_pools: dict[PoolName, NodePoolSpec] = Field(default={}, max_length=30)
    """Node pools by name."""
    api: ApiSpec = Field(default_factory=ApiSpec)
    """API Gateway and its firewall."""
    encryption: EncryptionSpec = Field(default_factory=EncryptionSpec)
    """KMS keys."""
    observability: ObservabilitySpec = Field(default_factory=ObservabilitySpec)
    """Logs, dashboards and alarms."""
    budget: BudgetSpec | None = None
    """Monthly budget. Defaults to none."""
    protect: Switch = False
    """If true, Pulumi refuses to delete the resources that hold data: registry, buckets, keys and
    cluster."""
    tags: dict[TagKey, TagValue] = Field(default={}, max_length=40)
    """Tags of every AWS resource, in addition to Berth's own tags."""

    _aws: dict[str, Any] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Take the AWS provider's settings from the validation context."""
        self._aws = dict((context or {}).get("aws", {}))

    @property
    def aws(self) -> Mapping[str, Any]:
        """The AWS provider's settings (such as `aws:region`), without their prefix."""
        return self._aws

    @model_validator(mode="after")
    def _check(self) -> "HostingSpec":
        raise_problems(rules.find_problems(dict(self)))
        return self


def find_readers(section: str) -> tuple[PlatformName, ...]:
    """Return the platforms that read a section."""
    # Import lazily, because the platforms import the specification.
    from berth.platforms import get_platform

    readers = tuple(name for name in PLATFORM_NAMES if section in get_platform(name).sections)
    return readers or PLATFORM_NAMES
