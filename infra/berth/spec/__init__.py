"""The typed specification of a stack, from `Pulumi.<stack>.yaml`.

`load_file` loads it from the file, `load_config` from the running Pulumi program. No other module
reads Pulumi's configuration. docs/reference/specification.md lists every key.
"""

from berth.spec.aws import (
    ApiSpec,
    BudgetSpec,
    EncryptionSpec,
    NetworkSpec,
    ObservabilitySpec,
)
from berth.spec.cluster import ClusterSpec, NodePoolSpec
from berth.spec.data import DatasetSpec, DataSpec
from berth.spec.docker import DockerSpec
from berth.spec.edge import CdnSpec, DomainSpec, EdgeSpec, LatencyRoutingSpec, SiteSpec
from berth.spec.errors import SpecError
from berth.spec.gateway import (
    ENCRYPTED,
    BlockingSpec,
    ClientSpec,
    GatewaySpec,
    JwtSpec,
    KeySpec,
    QuotaSpec,
)
from berth.spec.hosting import HostingSpec, LocalSpec
from berth.spec.images import ImageSpec, RegistrySpec
from berth.spec.kubernetes import KubernetesSpec
from berth.spec.load import load_config, load_file, load_recorded, load_with_values_from
from berth.spec.models import (
    ModelSpec,
    ReplicaSpec,
    ResourceSpec,
    ServingSpec,
    VersionSpec,
    version_directory,
)
from berth.spec.parity import ParitySpec
from berth.spec.policy import ExceptionSpec, PolicySpec

__all__ = [
    "ENCRYPTED",
    "ApiSpec",
    "BlockingSpec",
    "BudgetSpec",
    "CdnSpec",
    "ClientSpec",
    "ClusterSpec",
    "DataSpec",
    "DatasetSpec",
    "DockerSpec",
    "DomainSpec",
    "EdgeSpec",
    "EncryptionSpec",
    "ExceptionSpec",
    "GatewaySpec",
    "HostingSpec",
    "ImageSpec",
    "JwtSpec",
    "KeySpec",
    "KubernetesSpec",
    "LatencyRoutingSpec",
    "LocalSpec",
    "ModelSpec",
    "NetworkSpec",
    "NodePoolSpec",
    "ObservabilitySpec",
    "ParitySpec",
    "PolicySpec",
    "QuotaSpec",
    "RegistrySpec",
    "ReplicaSpec",
    "ResourceSpec",
    "ServingSpec",
    "SiteSpec",
    "SpecError",
    "VersionSpec",
    "load_config",
    "load_file",
    "load_recorded",
    "load_with_values_from",
    "version_directory",
]
