"""The typed specification of a stack, from `Pulumi.<stack>.yaml`.

`load_file` reads the file, `load_config` the configuration of the running Pulumi program; nothing
else in the project reads Pulumi's configuration.
"""

from infra.spec.errors import SpecError
from infra.spec.gateway import ENCRYPTED, ClientSpec, GatewaySpec, QuotaSpec
from infra.spec.hosting import HostingSpec
from infra.spec.load import load_config, load_file
from infra.spec.local import LocalSpec
from infra.spec.model_files import check_models
from infra.spec.models import ModelSpec, ReplicaSpec, ResourceSpec, ServingSpec, VersionSpec

__all__ = [
    "ENCRYPTED",
    "ClientSpec",
    "GatewaySpec",
    "HostingSpec",
    "LocalSpec",
    "ModelSpec",
    "QuotaSpec",
    "ReplicaSpec",
    "ResourceSpec",
    "ServingSpec",
    "SpecError",
    "VersionSpec",
    "check_models",
    "load_config",
    "load_file",
]
