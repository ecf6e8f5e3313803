"""Alerting rules and the Grafana dashboard of a stack, as objects in its cluster."""

import json
from collections.abc import Mapping

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import ConfigMap

from pulumi_berth.hosted_models import ClientArgs, HostedModelArgs, resolve_clients
from pulumi_berth.kubernetes.api_groups import MONITORS
from pulumi_berth.kubernetes.berth_plan import plan_replicas
from pulumi_berth.kubernetes.hosting_args import KubernetesHostingArgs
from pulumi_berth.kubernetes.object_names import MONITORING
from pulumi_berth.kubernetes.objects import build_labels, build_metadata
from pulumi_berth.monitoring.grafana_dashboard import SIDECAR_LABEL, build_dashboard
from pulumi_berth.monitoring.prometheus_rules import build_rules
from pulumi_berth.monitoring.scraped_stack import ScrapedStack, find_quotas


def has_monitoring(args: KubernetesHostingArgs) -> bool:
    """Return whether the stack has alerting rules and a dashboard in its cluster."""
    return bool(args.monitoring and args.has_prometheus_operator)


def describe_scraped_stack(
    project: str,
    stack: str,
    namespace: str,
    models: Mapping[str, HostedModelArgs],
    clients: Mapping[str, ClientArgs],
    *,
    has_controller: bool,
) -> ScrapedStack:
    """Return a stack in a cluster as Prometheus sees it.

    Both the operator and the scrape configuration in Prometheus's own examples add the label
    `namespace`.

    Args:
        has_controller: Whether an ingress controller of the stack forwards requests to the berths.
    """
    return ScrapedStack(
        project=project,
        stack=stack,
        labels={"namespace": namespace},
        berths=[
            (name, version)
            for name, model in models.items()
            for version, entry in model.versions.items()
            if entry.container is None and plan_replicas(model, version).min != 0
        ],
        shadows=[
            (name, model.shadow)
            for name, model in models.items()
            if model.shadow is not None and model.versions[model.shadow].container is None
        ],
        quotas=find_quotas(clients),
        is_forwarding=not has_controller,
        has_shared_limits=True,
    )


def create_monitoring(
    args: KubernetesHostingArgs,
    namespace: pulumi.Input[str],
    *,
    opts: pulumi.ResourceOptions,
    prefix: str = "",
) -> None:
    """Create a PrometheusRule, and a ConfigMap that the sidecar of Grafana's Helm chart finds.

    Args:
        namespace: Name of the namespace once it exists.
        prefix: Prefix of the logical resource names.
    """
    stack = describe_scraped_stack(
        pulumi.get_project(),
        pulumi.get_stack(),
        args.namespace,
        args.models,
        resolve_clients(args.clients),
        has_controller=args.parent_gateway is None,
    )
    labels = build_labels("monitoring", MONITORING)
    CustomResource(
        f"{prefix}rules",
        api_version=f"{MONITORS}/v1",
        kind="PrometheusRule",
        metadata=build_metadata(namespace, MONITORING, {**labels, **(args.monitor_labels or {})}),
        spec=build_rules(stack),
        opts=opts,
    )
    ConfigMap(
        f"{prefix}dashboard",
        metadata=build_metadata(namespace, MONITORING, {**labels, **SIDECAR_LABEL}),
        # The sidecar writes the dashboards of all namespaces into one directory.
        data={f"{stack.uid}.json": json.dumps(build_dashboard(stack), separators=(",", ":"))},
        opts=opts,
    )
