"""Pulumi components for hosting trained models: one serving container per model version.

The names below are the public interface, described in docs/components. Other modules may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from berth_gateway.limits.valkey_address import WhenUnreachable
    from pulumi_berth.aws.logs import LogSettings
    from pulumi_berth.aws.model_registry import ModelRegistry, ModelRegistryArgs, RegistryReader
    from pulumi_berth.aws.network import NatMode, Network, NetworkArgs
    from pulumi_berth.docker.hosting import DockerHosting
    from pulumi_berth.docker.hosting_args import DockerHostingArgs
    from pulumi_berth.docker.tls_proxy import AcmeArgs, DockerTlsArgs
    from pulumi_berth.gateway_clients import BlockingArgs, ClientKeyArgs, JwtArgs
    from pulumi_berth.hosted_models import (
        ClientArgs,
        ClientQuotaArgs,
        HostedModelArgs,
        HostedVersionArgs,
        QuotaPeriod,
        ReplicaArgs,
        ResourceArgs,
    )
    from pulumi_berth.images.built_image import ImageSettings, Severity
    from pulumi_berth.images.serving_image import ServingImage, ServingImageArgs
    from pulumi_berth.kubernetes.berth import KubernetesBerth, KubernetesBerthArgs
    from pulumi_berth.kubernetes.berth_plan import GpuPlacement
    from pulumi_berth.kubernetes.certificate import CertificateArgs, IssuerKind
    from pulumi_berth.kubernetes.dataset_mount import DatasetMount
    from pulumi_berth.kubernetes.hosting import KubernetesHosting
    from pulumi_berth.kubernetes.hosting_args import (
        HostingLimitsArgs,
        HostingServiceArgs,
        KubernetesHostingArgs,
    )
    from pulumi_berth.kubernetes.parent_gateway import ParentGatewayArgs
    from pulumi_berth.kubernetes.traefik import ServiceType
    from pulumi_berth.local.hosting import LocalHosting, LocalHostingArgs
    from pulumi_berth.serving_settings import ServingSettings

_MODULES = {
    "berth_gateway.limits.valkey_address": ["WhenUnreachable"],
    "pulumi_berth.aws.logs": ["LogSettings"],
    "pulumi_berth.aws.model_registry": ["ModelRegistry", "ModelRegistryArgs", "RegistryReader"],
    "pulumi_berth.aws.network": ["NatMode", "Network", "NetworkArgs"],
    "pulumi_berth.docker.hosting": ["DockerHosting"],
    "pulumi_berth.docker.hosting_args": ["DockerHostingArgs"],
    "pulumi_berth.docker.tls_proxy": ["AcmeArgs", "DockerTlsArgs"],
    "pulumi_berth.gateway_clients": ["BlockingArgs", "ClientKeyArgs", "JwtArgs"],
    "pulumi_berth.hosted_models": [
        "ClientArgs",
        "ClientQuotaArgs",
        "HostedModelArgs",
        "HostedVersionArgs",
        "QuotaPeriod",
        "ReplicaArgs",
        "ResourceArgs",
    ],
    "pulumi_berth.images.built_image": ["ImageSettings", "Severity"],
    "pulumi_berth.images.serving_image": ["ServingImage", "ServingImageArgs"],
    "pulumi_berth.kubernetes.berth": ["KubernetesBerth", "KubernetesBerthArgs"],
    "pulumi_berth.kubernetes.berth_plan": ["GpuPlacement"],
    "pulumi_berth.kubernetes.dataset_mount": ["DatasetMount"],
    "pulumi_berth.kubernetes.certificate": ["CertificateArgs", "IssuerKind"],
    "pulumi_berth.kubernetes.hosting": ["KubernetesHosting"],
    "pulumi_berth.kubernetes.hosting_args": [
        "HostingLimitsArgs",
        "HostingServiceArgs",
        "KubernetesHostingArgs",
    ],
    "pulumi_berth.kubernetes.parent_gateway": ["ParentGatewayArgs"],
    "pulumi_berth.kubernetes.traefik": ["ServiceType"],
    "pulumi_berth.local.hosting": ["LocalHosting", "LocalHostingArgs"],
    "pulumi_berth.serving_settings": ["ServingSettings"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AcmeArgs",
    "BlockingArgs",
    "CertificateArgs",
    "ClientArgs",
    "ClientKeyArgs",
    "ClientQuotaArgs",
    "DatasetMount",
    "DockerHosting",
    "DockerHostingArgs",
    "DockerTlsArgs",
    "GpuPlacement",
    "HostedModelArgs",
    "HostedVersionArgs",
    "HostingLimitsArgs",
    "HostingServiceArgs",
    "ImageSettings",
    "IssuerKind",
    "JwtArgs",
    "KubernetesBerth",
    "KubernetesBerthArgs",
    "KubernetesHosting",
    "KubernetesHostingArgs",
    "LocalHosting",
    "LocalHostingArgs",
    "LogSettings",
    "ModelRegistry",
    "ModelRegistryArgs",
    "NatMode",
    "Network",
    "NetworkArgs",
    "ParentGatewayArgs",
    "QuotaPeriod",
    "RegistryReader",
    "ReplicaArgs",
    "ResourceArgs",
    "ServiceType",
    "ServingImage",
    "ServingImageArgs",
    "ServingSettings",
    "Severity",
    "WhenUnreachable",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is used: the SDKs of all platforms together take seconds to import."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
