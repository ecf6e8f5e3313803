"""What a specification hosts in a cluster, as arguments of Berth's components."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi

from berth.platforms.hosted_models import (
    build_blocking,
    build_clients,
    build_jwt,
    build_models,
)
from berth.platforms.kubernetes.parent_gateway import build_parent_gateway
from berth.platforms.stack_context import StackContext
from berth.project import read_project_name
from berth.spec import HostingSpec
from berth.spec.fields import PodResourceSpec
from berth.spec.kubernetes import KubernetesSpec
from berth_gateway.limits.valkey_address import WhenUnreachable
from pulumi_berth.hosted_models import HostedModelArgs, ResourceArgs, find_digest
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.kubernetes.berth_plan import GpuPlacement, get_berth_name
from pulumi_berth.kubernetes.certificate import CertificateArgs, IssuerKind
from pulumi_berth.kubernetes.dataset_mount import DatasetMount
from pulumi_berth.kubernetes.hosting import KubernetesHostingParts
from pulumi_berth.kubernetes.hosting_args import (
    HostingLimitsArgs,
    HostingServiceArgs,
    KubernetesHostingArgs,
)
from pulumi_berth.kubernetes.monitoring import describe_scraped_stack
from pulumi_berth.kubernetes.traefik import ServiceType
from pulumi_berth.monitoring.scraped_stack import ScrapedStack


def build_hosted_models(
    spec: HostingSpec,
    root: Path,
    *,
    registry: str,
    mounts: Mapping[str, list[DatasetMount]],
) -> dict[str, HostedModelArgs]:
    """Return the models with their datasets and with the images that the specification pins.

    Args:
        registry: Registry and path of the images.
        mounts: Dataset mounts of each model.
    """
    return {
        name: replace(
            model,
            datasets=mounts[name],
            versions={
                version: replace(entry, image=f"{registry}/{name}@{pinned}" if pinned else None)
                for version, entry in model.versions.items()
                for pinned in (spec.models[name].versions[version].image,)
            },
        )
        for name, model in build_models(spec, root).items()
    }


def build_hosting_args(
    spec: HostingSpec,
    models: Mapping[str, HostedModelArgs],
    settings: ImageSettings,
    *,
    root: Path,
    namespace: str,
    limits_prefix: str,
    has_pod_metrics: bool,
    has_prometheus_operator: bool = False,
    controller_image: pulumi.Input[str] | None = None,
) -> KubernetesHostingArgs:
    """Return what a cluster hosts.

    Args:
        models: Models of the cluster. An edge site hosts only some of the stack's models.
        root: Directory of the project.
        limits_prefix: First part of the keys in a Valkey server that the specification names.
        has_pod_metrics: Whether the cluster serves metrics of pods to autoscalers.
        has_prometheus_operator: Whether the cluster has the Prometheus operator.
        controller_image: Image of the ingress controller instead of `kubernetes.controller_image`.
    """
    kubernetes, limits = spec.kubernetes, spec.gateway.limits
    return KubernetesHostingArgs(
        namespace=namespace,
        adopt_namespace=kubernetes.adopt_namespace,
        models=models,
        images=settings,
        clients=build_clients(spec),
        jwt=build_jwt(spec, root),
        blocking=build_blocking(spec),
        limits=HostingLimitsArgs(
            valkey_url=limits.valkey_url,
            prefix=limits_prefix,
            when_unreachable=WhenUnreachable(limits.when_unreachable),
            storage_class=limits.storage_class,
            storage_gib=limits.storage_gib,
        ),
        service=_build_service(kubernetes),
        parent_gateway=build_parent_gateway(spec),
        max_body_bytes=spec.gateway.max_body_bytes,
        timeout_seconds=spec.gateway.timeout_seconds,
        body_memory_bytes=spec.gateway.body_memory_bytes,
        ready_seconds=kubernetes.ready_timeout_seconds,
        gateway_replicas=spec.gateway.replicas,
        gateway_max_replicas=spec.gateway.max_replicas,
        gateway_resources=_build_resources(spec.gateway.resources),
        require_zones=kubernetes.zone_spread == "required",
        controller_image=kubernetes.controller_image
        if controller_image is None
        else controller_image,
        controller_replicas=kubernetes.controller_replicas,
        controller_max_replicas=kubernetes.controller_max_replicas,
        controller_resources=_build_resources(kubernetes.controller_resources),
        pull_secret=spec.registry.pull_secret,
        metrics_namespace=kubernetes.metrics_namespace,
        gpu=GpuPlacement(**kubernetes.gpu.model_dump()),
        has_pod_metrics=has_pod_metrics,
        has_prometheus_operator=has_prometheus_operator,
        monitor_labels=kubernetes.monitor_labels,
        monitoring=kubernetes.monitoring,
    )


def describe_scraped(context: StackContext) -> ScrapedStack:
    """Return the stack as a Prometheus server of its cluster sees it."""
    spec = context.spec
    return describe_scraped_stack(
        read_project_name(context.root),
        context.stack,
        spec.kubernetes.namespace,
        build_models(spec, context.root),
        build_clients(spec),
        has_controller=spec.kubernetes.parent_gateway is None,
    )


def _build_service(kubernetes: KubernetesSpec) -> HostingServiceArgs:
    if kubernetes.parent_gateway is not None:
        return HostingServiceArgs(hostnames=kubernetes.hostnames)
    certificate = kubernetes.certificate
    return HostingServiceArgs(
        type=ServiceType(kubernetes.service.type),
        node_port=kubernetes.service.node_port,
        hostnames=kubernetes.hostnames,
        tls_secret=kubernetes.tls_secret,
        certificate=None
        if certificate is None
        else CertificateArgs(issuer=certificate.issuer, kind=IssuerKind(certificate.kind)),
    )


def _build_resources(resources: PodResourceSpec) -> ResourceArgs:
    return ResourceArgs(cpu=resources.cpu, cpu_limit=resources.cpu_limit, memory=resources.memory)


def build_models_output(
    spec: HostingSpec, hosting: KubernetesHostingParts, root: Path
) -> dict[str, Any]:
    """Return the stack output about models.

    The output does not wait for a berth to become ready. After an update that fails because a
    berth is not ready, the outputs exist, so that status and invoke still work.
    """
    models = build_models(spec, root)
    return {
        model: {
            "versions": {
                version: {
                    "digest": find_digest(models[model].versions[version]),
                    "image": hosting.berths[model, version].image,
                    "service": get_berth_name(model, version),
                    "traffic": model_spec.traffic.get(version, 0),
                    "exposed": version in model_spec.exposed_versions,
                }
                for version in model_spec.versions
            },
            "shadow": model_spec.shadow,
        }
        for model, model_spec in spec.models.items()
    }
