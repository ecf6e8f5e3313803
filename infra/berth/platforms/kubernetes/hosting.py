"""The part that the stack's cluster and every edge site share: berths, gateway and routes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from berth.platforms.gateway_config import declare_gateway_config
from berth.platforms.kubernetes.berth_args import build_serving_settings, is_in_use, plan_berth
from berth.spec import HostingSpec, version_directory
from berth_protocol.model_card import digest
from pulumi_berth.kubernetes.berth import HTTP_PORT, KubernetesBerth, KubernetesBerthArgs
from pulumi_berth.kubernetes.berth_plan import GpuPlacement, get_berth_name
from pulumi_berth.kubernetes.dataset_mount import DatasetMount
from pulumi_berth.kubernetes.gateway import PUBLIC_PORT, Gateway, GatewayArgs, SharedLimits
from pulumi_berth.kubernetes.gateway import SELECTOR_LABELS as GATEWAY_LABELS
from pulumi_berth.kubernetes.gateway_route import GatewayRoute, GatewayRouteArgs
from pulumi_berth.kubernetes.hosting_namespace import HostingNamespace, HostingNamespaceArgs
from pulumi_berth.kubernetes.model_route import ModelRoute, ModelRouteArgs
from pulumi_berth.kubernetes.route_plan import BackendRef, RoutePlan, build_service_ref
from pulumi_berth.kubernetes.traefik import SELECTOR_LABELS as TRAEFIK_LABELS
from pulumi_berth.kubernetes.traefik import ServiceType, Traefik, TraefikArgs
from pulumi_berth.kubernetes.valkey import SELECTOR_LABELS as VALKEY_LABELS
from pulumi_berth.kubernetes.valkey import Valkey, ValkeyArgs


@dataclass(frozen=True, kw_only=True)
class HostingImages:
    """Images that a cluster runs.

    Attributes:
        serving: Serving image of each (model, version).
        gateway: Image of the gateway.
        valkey: Image of the server that keeps limits. None if the stack uses an existing server.
        dataset_mounts: Dataset mounts of each model.
    """

    serving: Mapping[tuple[str, str], pulumi.Input[str]]
    gateway: pulumi.Input[str]
    valkey: pulumi.Input[str] | None
    dataset_mounts: Mapping[str, Sequence[DatasetMount]]


@dataclass(frozen=True, kw_only=True)
class Hosting:
    """Components that host a stack's models on one cluster.

    Attributes:
        berths: Berth of each (model, version).
        traefik: Ingress controller.
        namespace: Namespace that contains everything.
    """

    berths: Mapping[tuple[str, str], KubernetesBerth]
    traefik: Traefik
    namespace: HostingNamespace


def declare_hosting(
    spec: HostingSpec,
    *,
    stack: str,
    namespace: str,
    images: HostingImages,
    keys: Mapping[str, pulumi.Output[str]],
    root: Path,
    has_pod_metrics: bool,
    opts: pulumi.ResourceOptions,
    prefix: str = "",
) -> Hosting:
    """Declare the namespace, a berth per model version, the gateway, Traefik, and the routes.

    Args:
        spec: Specification of the cluster. For an edge site, it contains only the site's models.
        keys: API key of each client.
        has_pod_metrics: Whether the cluster serves metrics of pods to autoscalers.
        opts: Options that contain the cluster's provider.
        prefix: Prefix of the logical resource names.
    """
    hosting_namespace = HostingNamespace(
        f"{prefix}namespace", HostingNamespaceArgs(namespace=namespace, stack=stack), opts
    )
    berths = _declare_berths(
        spec, hosting_namespace, images, root, has_pod_metrics=has_pod_metrics, opts=opts,
        prefix=prefix,
    )  # fmt: skip
    gateway = Gateway(
        f"{prefix}gateway",
        GatewayArgs(
            namespace=hosting_namespace.name,
            image=images.gateway,
            config=declare_gateway_config(
                spec,
                keys,
                {version: berth.url for version, berth in berths.items()},
                splits_traffic=False,
            ),
            limits=_declare_limits(
                spec, hosting_namespace, images, stack=stack, opts=opts, prefix=prefix
            ),
            callers=[TRAEFIK_LABELS],
            metrics_namespace=spec.kubernetes.metrics_namespace,
            pull_secret=spec.registry.pull_secret,
        ),
        opts,
    )
    traefik = Traefik(
        f"{prefix}traefik",
        TraefikArgs(
            namespace=hosting_namespace.name,
            namespace_name=namespace,
            image=spec.kubernetes.controller_image,
            service_type=ServiceType(spec.kubernetes.service.type),
            node_port=spec.kubernetes.service.node_port,
            tls_secret=spec.kubernetes.tls_secret,
            timeout_seconds=spec.gateway.timeout_seconds,
            metrics_namespace=spec.kubernetes.metrics_namespace,
            pull_secret=spec.registry.pull_secret,
        ),
        opts,
    )
    GatewayRoute(
        f"{prefix}gateway-route",
        GatewayRouteArgs(
            namespace=hosting_namespace.name,
            parent_gateway=traefik.gateway,
            hostnames=spec.kubernetes.hostnames,
            service=gateway.service,
            port=PUBLIC_PORT,
        ),
        opts,
    )
    filters = traefik.create_inference_filters(gateway.authorize_url)
    for model in spec.models:
        ModelRoute(
            f"{prefix}{model}",
            ModelRouteArgs(
                namespace=hosting_namespace.name,
                plan=_plan_route(spec, model, berths, traefik),
                parent_gateway=traefik.gateway,
                hostnames=spec.kubernetes.hostnames,
                filters=filters,
            ),
            opts,
        )
    return Hosting(berths=berths, traefik=traefik, namespace=hosting_namespace)


def _declare_limits(
    spec: HostingSpec,
    namespace: HostingNamespace,
    images: HostingImages,
    *,
    stack: str,
    opts: pulumi.ResourceOptions,
    prefix: str,
) -> SharedLimits:
    """Declare the server that keeps the limits of this cluster, unless the stack has one."""
    limits = spec.gateway.limits
    if images.valkey is None:
        assert limits.valkey_url is not None
        return SharedLimits(
            valkey_url=pulumi.Output.secret(limits.valkey_url),
            prefix=f"berth:{prefix}{stack}",
            when_unreachable=limits.when_unreachable,
        )
    valkey = Valkey(
        f"{prefix}valkey",
        ValkeyArgs(
            namespace=namespace.name,
            image=images.valkey,
            callers=[GATEWAY_LABELS],
            storage_class=limits.storage_class,
            storage_gib=limits.storage_gib,
            pull_secret=spec.registry.pull_secret,
        ),
        opts,
    )
    return SharedLimits(
        valkey_url=valkey.url,
        prefix="berth",
        pods=VALKEY_LABELS,
        when_unreachable=limits.when_unreachable,
    )


def _declare_berths(
    spec: HostingSpec,
    namespace: HostingNamespace,
    images: HostingImages,
    root: Path,
    *,
    has_pod_metrics: bool,
    opts: pulumi.ResourceOptions,
    prefix: str,
) -> dict[tuple[str, str], KubernetesBerth]:
    return {
        (model, version): KubernetesBerth(
            f"{prefix}{model}-{version}",
            KubernetesBerthArgs(
                namespace=namespace.name,
                model=model,
                version=version,
                digest=digest(version_directory(root, model, version, entry.path)),
                image=images.serving[model, version],
                plan=plan_berth(model_spec, version, has_pod_metrics=has_pod_metrics),
                serving=build_serving_settings(spec, model_spec),
                priority=namespace.exposed_priority
                if is_in_use(model_spec, version)
                else namespace.standby_priority,
                callers=[TRAEFIK_LABELS, GATEWAY_LABELS],
                metrics_namespace=spec.kubernetes.metrics_namespace,
                ready_seconds=spec.kubernetes.ready_timeout_seconds,
                gpu=GpuPlacement(**spec.kubernetes.gpu.model_dump()),
                datasets=images.dataset_mounts[model],
                pull_secret=spec.registry.pull_secret,
            ),
            opts,
        )
        for model, model_spec in spec.models.items()
        for version, entry in model_spec.versions.items()
    }


def _plan_route(
    spec: HostingSpec,
    model: str,
    berths: Mapping[tuple[str, str], KubernetesBerth],
    traefik: Traefik,
) -> RoutePlan:
    model_spec = spec.models[model]
    services = {version: berths[model, version].service for version in model_spec.versions}

    def build_split_backend(version: str) -> BackendRef:
        if model_spec.shadow is None:
            return build_service_ref(services[version], HTTP_PORT)
        return traefik.create_mirror(
            get_berth_name(model, version),
            services[version],
            services[model_spec.shadow],
            HTTP_PORT,
        )

    return RoutePlan(
        model=model,
        split_backends={
            version: build_split_backend(version)
            for version, percent in model_spec.traffic.items()
            if percent
        },
        traffic=model_spec.traffic,
        version_backends={
            version: build_service_ref(services[version], HTTP_PORT)
            for version in model_spec.exposed_versions
        },
    )


def build_models_output(spec: HostingSpec, hosting: Hosting, root: Path) -> dict[str, Any]:
    """Return the stack output about models.

    The output does not wait for a berth to become ready. After an update that fails because a
    berth is not ready, the outputs exist, so that status and invoke still work.
    """
    return {
        model: {
            "versions": {
                version: {
                    "digest": digest(version_directory(root, model, version, entry.path)),
                    "image": hosting.berths[model, version].image,
                    "service": get_berth_name(model, version),
                    "traffic": model_spec.traffic.get(version, 0),
                    "exposed": version in model_spec.exposed_versions,
                }
                for version, entry in model_spec.versions.items()
            },
            "shadow": model_spec.shadow,
        }
        for model, model_spec in spec.models.items()
    }
