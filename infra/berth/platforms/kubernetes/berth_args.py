"""Build the arguments of a berth and of its images from the specification."""

from berth.spec import HostingSpec, ModelSpec
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.kubernetes.berth_plan import BerthPlan, plan_replicas
from pulumi_berth.serving_settings import ServingSettings


def is_in_use(model: ModelSpec, version: str) -> bool:
    """Return whether the version receives client requests or shadow traffic."""
    return version in model.exposed_versions or version == model.shadow


def plan_berth(model: ModelSpec, version: str, *, has_pod_metrics: bool) -> BerthPlan:
    """Return the replicas of a version and the resources of each replica.

    Args:
        has_pod_metrics: Whether the cluster serves metrics of pods. An autoscaler that waits for a
            missing metric never removes replicas.
    """
    min_replicas, max_replicas = plan_replicas(
        min_replicas=model.replicas.min,
        max_replicas=model.replicas.max,
        is_in_use=is_in_use(model, version),
        standby=model.versions[version].standby,
    )
    return BerthPlan(
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        target_cpu_percent=model.replicas.target_cpu_percent,
        target_in_flight=model.replicas.target_in_flight if has_pod_metrics else None,
        cpu=model.resources.cpu,
        memory=model.resources.memory,
        gpus=model.resources.gpu,
    )


def build_serving_settings(spec: HostingSpec, model: ModelSpec) -> ServingSettings:
    """Return a berth's limits.

    In a cluster, request bodies do not pass through the gateway, so that the berth also enforces
    the gateway's limit.
    """
    limits = model.serving.model_dump()
    limits["max_body_bytes"] = min(limits["max_body_bytes"], spec.gateway.max_body_bytes)
    return ServingSettings(**limits)


def build_image_settings(spec: HostingSpec, registry: str) -> ImageSettings:
    """Return the settings with which the stack's images are built.

    Args:
        registry: Registry and path below which the images are pushed.
    """
    return ImageSettings(
        registry=registry,
        plain_http=spec.registry.plain_http,
        architectures=list(spec.images.architectures),
        scan_command=list(spec.images.scan.command),
        fail_on=spec.images.scan.fail_on,
        ignore_unfixed=spec.images.scan.ignore_unfixed,
        debian_mirrors=list(spec.images.debian_mirrors),
    )
