"""The typed specification of a stack, from `Pulumi.<stack>.yaml`.

`load_file` reads the file, `load_config` the configuration of the running Pulumi program; nothing
else in the project reads Pulumi's configuration. docs/reference/specification.md lists every key.
"""

from berth.spec.api import ApiSpec
from berth.spec.budget import BudgetSpec
from berth.spec.cluster import ClusterSpec
from berth.spec.data import DatasetSpec, DataSpec
from berth.spec.edge import CdnSpec, EdgeSpec, LatencyRoutingSpec, SiteSpec
from berth.spec.encryption import EncryptionSpec
from berth.spec.errors import SpecError
from berth.spec.gateway import ENCRYPTED, ClientSpec, GatewaySpec, QuotaSpec
from berth.spec.hosting import HostingSpec
from berth.spec.images import ImageSpec
from berth.spec.kubernetes import KubernetesSpec
from berth.spec.load import load_config, load_file, load_with_values_from
from berth.spec.local import LocalSpec
from berth.spec.model_files import check_models
from berth.spec.models import ModelSpec, ReplicaSpec, ResourceSpec, ServingSpec, VersionSpec
from berth.spec.network import NetworkSpec
from berth.spec.node_pool import NodePoolSpec
from berth.spec.observability import ObservabilitySpec
from berth.spec.parity import ParitySpec
from berth.spec.policy import ExceptionSpec, PolicySpec
from berth.spec.registry import RegistrySpec

__all__ = [
    "ENCRYPTED",
    "ApiSpec",
    "BudgetSpec",
    "CdnSpec",
    "ClientSpec",
    "ClusterSpec",
    "DataSpec",
    "DatasetSpec",
    "EdgeSpec",
    "EncryptionSpec",
    "ExceptionSpec",
    "GatewaySpec",
    "HostingSpec",
    "ImageSpec",
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
    "check_models",
    "load_config",
    "load_file",
    "load_with_values_from",
]
