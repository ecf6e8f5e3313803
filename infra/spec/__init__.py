"""The typed specification of a stack, from `Pulumi.<stack>.yaml`.

`load_file` reads the file, `load_config` the configuration of the running Pulumi program; nothing
else in the project reads Pulumi's configuration. docs/specification.md lists every key.
"""

from infra.spec.api import ApiSpec
from infra.spec.budget import BudgetSpec
from infra.spec.cluster import ClusterSpec
from infra.spec.data import DataSetSpec, DataSpec
from infra.spec.edge import CdnSpec, EdgeSpec, LatencySpec, SiteSpec
from infra.spec.encryption import EncryptionSpec
from infra.spec.errors import SpecError
from infra.spec.gateway import ENCRYPTED, ClientSpec, GatewaySpec, QuotaSpec
from infra.spec.hosting import HostingSpec
from infra.spec.images import ImageSpec
from infra.spec.kubernetes import KubernetesSpec
from infra.spec.load import load_config, load_file, load_with_sizes_of
from infra.spec.local import LocalSpec
from infra.spec.model_files import check_models
from infra.spec.models import ModelSpec, ReplicaSpec, ResourceSpec, ServingSpec, VersionSpec
from infra.spec.network import NetworkSpec
from infra.spec.node_pool import NodePoolSpec
from infra.spec.observability import ObservabilitySpec
from infra.spec.parity import ParitySpec
from infra.spec.policy import ExceptionSpec, PolicySpec
from infra.spec.registry import RegistrySpec
from infra.spec.rollout import RolloutSpec

__all__ = [
    "ENCRYPTED",
    "ApiSpec",
    "BudgetSpec",
    "CdnSpec",
    "ClientSpec",
    "ClusterSpec",
    "DataSetSpec",
    "DataSpec",
    "EdgeSpec",
    "EncryptionSpec",
    "ExceptionSpec",
    "GatewaySpec",
    "HostingSpec",
    "ImageSpec",
    "KubernetesSpec",
    "LatencySpec",
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
    "RolloutSpec",
    "ServingSpec",
    "SiteSpec",
    "SpecError",
    "VersionSpec",
    "check_models",
    "load_config",
    "load_file",
    "load_with_sizes_of",
]
