"""Hosting on one cluster: what the stack's own cluster and every edge site have alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from berth.platforms.gateway_config import gate_table
from berth.platforms.kubernetes.berth_args import in_use, plan_of, serving_settings
from berth.spec import HostingSpec
from berth.spec.model_store import version_directory
from berth_serving.card import digest
from pulumi_berth.api_key import key_sha256
from pulumi_berth.kubernetes.berth import HTTP_PORT, Berth, BerthArgs
from pulumi_berth.kubernetes.berth_plan import Gpu, berth_name
from pulumi_berth.kubernetes.data_mount import DataMount
from pulumi_berth.kubernetes.gateway import MARKS as GATE
from pulumi_berth.kubernetes.gateway import PUBLIC_PORT, Gate, GateArgs
from pulumi_berth.kubernetes.gateway_route import Front, FrontArgs
from pulumi_berth.kubernetes.hosting_namespace import HostingNamespace, HostingNamespaceArgs
from pulumi_berth.kubernetes.traefik import MARKS as CONTROLLER
from pulumi_berth.kubernetes.traefik import Traefik, TraefikArgs
from pulumi_berth.kubernetes.traffic import Traffic, TrafficArgs
from pulumi_berth.kubernetes.traffic_plan import BackendRef, ModelTraffic, service_ref


@dataclass(frozen=True, kw_only=True)
class Images:
    """What is run: (model, version) -> serving image, the gate's image, and model -> the sets of
    data that it reads."""

    serving: Mapping[tuple[str, str], pulumi.Input[str]]
    gateway: pulumi.Input[str]
    data: Mapping[str, Sequence[DataMount]]


@dataclass(frozen=True, kw_only=True)
class Hosted:
    """What came of it."""

    berths: Mapping[tuple[str, str], Berth]
    controller: Traefik
    namespace: HostingNamespace


def host(
    spec: HostingSpec,
    *,
    stack: str,
    namespace: str,
    images: Images,
    keys: Mapping[str, pulumi.Output[str]],
    root: Path,
    pod_metrics: bool,
    opts: pulumi.ResourceOptions,
    prefix: str = "",
) -> Hosted:
    """Namespace -> one berth per model version -> gate -> controller -> one route per model.

    Args:
        spec: what the cluster runs; of an edge site, with its models alone.
        prefix: of the resources' names in the stack.
        pod_metrics: whether the cluster serves metrics of pods to autoscalers.
        opts: with the cluster's provider.
    """
    space = HostingNamespace(
        f"{prefix}namespace", HostingNamespaceArgs(namespace=namespace, stack=stack), opts
    )
    berths = {
        (model, version): Berth(
            f"{prefix}{model}-{version}",
            BerthArgs(
                namespace=space.name,
                model=model,
                version=version,
                digest=digest(version_directory(root, model, version, entry.path)),
                image=images.serving[model, version],
                plan=plan_of(model_spec, version, pod_metrics=pod_metrics),
                serving=serving_settings(spec, model_spec),
                priority=space.exposed_priority
                if in_use(model_spec, version)
                else space.standby_priority,
                callers=[CONTROLLER, GATE],
                metrics_namespace=spec.kubernetes.metrics_namespace,
                ready_seconds=spec.kubernetes.ready_timeout_seconds,
                gpu=Gpu(**spec.kubernetes.gpu.model_dump()),
                data=images.data[model],
                pull_secret=spec.registry.pull_secret,
            ),
            opts,
        )
        for model, model_spec in spec.models.items()
        for version, entry in model_spec.versions.items()
    }
    hashes = {name: pulumi.Output.unsecret(key.apply(key_sha256)) for name, key in keys.items()}
    gate = Gate(
        f"{prefix}gate",
        GateArgs(
            namespace=space.name,
            image=images.gateway,
            table=gate_table(spec, hashes, {pair: berth.url for pair, berth in berths.items()}),
            callers=[CONTROLLER],
            metrics_namespace=spec.kubernetes.metrics_namespace,
            pull_secret=spec.registry.pull_secret,
        ),
        opts,
    )
    controller = Traefik(
        f"{prefix}traefik",
        TraefikArgs(
            namespace=space.name,
            namespace_name=namespace,
            image=spec.kubernetes.controller_image,
            service_type=spec.kubernetes.service.type,
            node_port=spec.kubernetes.service.node_port,
            tls_secret=spec.kubernetes.tls_secret,
            timeout_seconds=spec.gateway.timeout_seconds,
            metrics_namespace=spec.kubernetes.metrics_namespace,
            pull_secret=spec.registry.pull_secret,
        ),
        opts,
    )
    Front(
        f"{prefix}front",
        FrontArgs(
            namespace=space.name,
            gateway=controller.gateway,
            hostnames=spec.kubernetes.hostnames,
            service=gate.service,
            port=PUBLIC_PORT,
        ),
        opts,
    )
    filters = controller.inference_filters(gate.authorize_url)
    for model, model_spec in spec.models.items():
        services = {version: berths[model, version].service for version in model_spec.versions}
        Traffic(
            f"{prefix}{model}",
            TrafficArgs(
                namespace=space.name,
                plan=ModelTraffic(
                    model=model,
                    shared={
                        version: _shared(controller, model, version, services, model_spec.shadow)
                        for version, percent in model_spec.traffic.items()
                        if percent
                    },
                    traffic=model_spec.traffic,
                    named={
                        version: service_ref(services[version], HTTP_PORT)
                        for version in model_spec.exposed_versions
                    },
                ),
                gateway=controller.gateway,
                hostnames=spec.kubernetes.hostnames,
                filters=filters,
            ),
            opts,
        )
    return Hosted(berths=berths, controller=controller, namespace=space)


def _shared(
    controller: Traefik,
    model: str,
    version: str,
    services: Mapping[str, pulumi.Output[str]],
    shadow: str | None,
) -> BackendRef:
    """Where a version's share goes: to its Service, and where there is a shadow to that too."""
    if shadow is None:
        return service_ref(services[version], HTTP_PORT)
    return controller.copying(
        berth_name(model, version), services[version], services[shadow], HTTP_PORT
    )


# Nothing here waits for a berth to be ready: an update that fails because one is not has its
# outputs then, and the stack, which goes on serving, can be looked at and asked.
def models_output(spec: HostingSpec, hosted: Hosted, root: Path) -> dict[str, Any]:
    """The part of a stack's outputs about its models."""
    return {
        model: {
            "versions": {
                version: {
                    "digest": digest(version_directory(root, model, version, entry.path)),
                    "image": hosted.berths[model, version].image,
                    "service": berth_name(model, version),
                    "traffic": model_spec.traffic.get(version, 0),
                    "exposed": version in model_spec.exposed_versions,
                }
                for version, entry in model_spec.versions.items()
            },
            "shadow": model_spec.shadow,
        }
        for model, model_spec in spec.models.items()
    }
