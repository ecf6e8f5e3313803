"""From the specification to what one berth in a cluster is told."""

from berth.spec import HostingSpec, ModelSpec
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.kubernetes.berth_plan import BerthPlan, copies
from pulumi_berth.serving_settings import ServingSettings


def in_use(model: ModelSpec, version: str) -> bool:
    """Whether requests or a shadow's copies reach the version."""
    return version in model.exposed_versions or version == model.shadow


def plan_of(model: ModelSpec, version: str, *, pod_metrics: bool) -> BerthPlan:
    """How many copies a version has, and what each of them has.

    Args:
        pod_metrics: whether the cluster serves metrics of pods. An autoscaler that waits for one
            that is not there never takes copies away.
    """
    at_rest, most = copies(
        fewest=model.replicas.min,
        most=model.replicas.max,
        in_use=in_use(model, version),
        standby=model.versions[version].standby,
    )
    return BerthPlan(
        copies=at_rest,
        most_copies=most,
        target_cpu_percent=model.replicas.target_cpu_percent,
        target_in_flight=model.replicas.target_in_flight if pod_metrics else None,
        cpu=model.resources.cpu,
        memory=model.resources.memory,
        gpus=model.resources.gpu,
    )


def serving_settings(spec: HostingSpec, model: ModelSpec) -> ServingSettings:
    """A berth's limits. In a cluster it is the berth that sees a body first: the gateway's limit
    is held there too."""
    limits = model.serving.model_dump()
    limits["max_body_bytes"] = min(limits["max_body_bytes"], spec.gateway.max_body_bytes)
    return ServingSettings(**limits)


def image_settings(spec: HostingSpec, registry: str) -> ImageSettings:
    """How the stack's images are made.

    Args:
        registry: and path that they are pushed below.
    """
    return ImageSettings(
        registry=registry,
        plain_http=spec.registry.plain_http,
        architectures=list(spec.images.architectures),
        sbom=spec.images.sbom,
        scan_command=list(spec.images.scan.command),
        fail_on=spec.images.scan.fail_on,
        ignore_unfixed=spec.images.scan.ignore_unfixed,
        debian_mirrors=list(spec.images.debian_mirrors),
    )
