"""Berth: one model version, running in a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.autoscaling.v2 import HorizontalPodAutoscaler
from pulumi_kubernetes.core.v1 import Service, ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from pulumi_berth.kubernetes.berth_plan import BerthPlan, Gpu, berth_name
from pulumi_berth.kubernetes.data_mount import DataMount
from pulumi_berth.kubernetes.kubernetes_object import (
    NOT_AWAITED,
    in_namespace,
    labels,
    pulls_with,
    ready_within,
    restricted_pod,
    rolling,
    spread,
)
from pulumi_berth.serving_settings import ServingSettings

HTTP_PORT = 8080
# A Service's change reaches every node and the gateway in about a second; a pod that is to end
# goes on serving that long and some more before it is told.
_LEAVING_SECONDS = 5
# What the program needs beyond its own grace to close files and end.
_ENDING_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class BerthArgs:
    """What one berth runs, and where.

    Attributes:
        namespace: of the stack.
        model, version: as in the model card.
        digest: `sha256:<hex>` of the model card.
        image: the serving image, `registry/name@sha256:...`.
        plan: how many copies, with what.
        serving: limits and session options.
        priority: name of its PriorityClass.
        callers: labels of the pods in the namespace that may ask it.
        metrics_namespace: the namespace whose pods may read its metrics.
        ready_seconds: what a new copy gets to become ready.
        gpu: how a pod with graphics processors finds its node.
        data: sets of data that the model reads, at `/data/<name>`.
        pull_secret: name of the Secret to pull images with; None where the nodes may.
    """

    namespace: pulumi.Input[str]
    model: str
    version: str
    digest: str
    image: pulumi.Input[str]
    plan: BerthPlan
    serving: ServingSettings
    priority: pulumi.Input[str]
    callers: list[Mapping[str, str]]
    metrics_namespace: str
    ready_seconds: int
    gpu: Gpu = field(default_factory=Gpu)
    data: Sequence[DataMount] = ()
    pull_secret: str | None = None


class Berth(pulumi.ComponentResource):
    """One model version: its pods, its address, its autoscaler, its budget for disruptions, its
    identity, and who may reach it.

    Attributes:
        service: name of its Service.
        url: where it is reached inside the cluster.
        image: what it runs.
    """

    service: pulumi.Output[str]
    url: pulumi.Output[str]
    image: pulumi.Output[str]

    def __init__(
        self, name: str, args: BerthArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:Berth", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        berth = berth_name(args.model, args.version)
        chosen = {"berth/model": args.model, "berth/version": args.version}
        marks = {
            **labels("berth", berth, model=args.model, version=args.version),
            "app.kubernetes.io/version": args.version,
        }
        notes = {"berth/digest": args.digest, "berth/image": args.image}

        def metadata() -> dict[str, Any]:
            return in_namespace(args.namespace, berth, marks)

        account = ServiceAccount(
            name,
            metadata=metadata(),
            automount_service_account_token=False,
            **pulls_with(args.pull_secret),
            opts=inside,
        )
        NetworkPolicy(name, metadata=metadata(), spec=_policy(args, chosen), opts=inside)
        service = Service(
            name,
            metadata=in_namespace(args.namespace, berth, marks, NOT_AWAITED),
            spec={
                "selector": chosen,
                "ports": [
                    {
                        "name": "http",
                        "port": HTTP_PORT,
                        "target_port": "http",
                        "app_protocol": "http",
                    }
                ],
            },
            opts=inside,
        )
        deployment = Deployment(
            name,
            metadata=in_namespace(args.namespace, berth, marks, notes),
            spec={
                # Left out where an autoscaler decides: a number here would undo its decision.
                **({} if args.plan.autoscaled else {"replicas": args.plan.copies}),
                "selector": {"match_labels": chosen},
                **rolling(args.ready_seconds),
                "template": {
                    "metadata": {"labels": marks, "annotations": notes},
                    "spec": _pod(args, chosen, account.metadata.name),
                },
            },
            opts=ready_within(args.ready_seconds, after=[service], opts=inside),
        )
        if args.plan.autoscaled:
            HorizontalPodAutoscaler(
                name,
                metadata=metadata(),
                spec=_autoscaler(args.plan, berth),
                opts=pulumi.ResourceOptions.merge(
                    inside, pulumi.ResourceOptions(depends_on=[deployment])
                ),
            )
        PodDisruptionBudget(
            name,
            metadata=metadata(),
            spec={
                "selector": {"match_labels": chosen},
                # Of one copy too: else a node with it could never be emptied.
                "max_unavailable": 1,
                "unhealthy_pod_eviction_policy": "AlwaysAllow",
            },
            opts=inside,
        )
        # Through the Deployment, so that what uses the name waits until the berth is ready.
        self.service = deployment.metadata.name
        self.url = pulumi.Output.concat(
            "http://", self.service, ".", args.namespace, ".svc:", str(HTTP_PORT)
        )
        self.image = pulumi.Output.from_input(args.image)
        self.register_outputs({"service": self.service, "url": self.url, "image": self.image})


def _pod(args: BerthArgs, chosen: Mapping[str, str], account: pulumi.Input[str]) -> dict[str, Any]:
    plan = args.plan
    grace = _LEAVING_SECONDS + args.serving.grace_seconds + _ENDING_SECONDS
    environment = {
        **args.serving.environment(),
        "BERTH_PORT": str(HTTP_PORT),
        **({"BERTH_EXECUTION_PROVIDERS": _CUDA} if plan.gpus else {}),
    }
    amounts = {"cpu": plan.cpu, "memory": plan.memory}
    gpus = {"nvidia.com/gpu": str(plan.gpus)} if plan.gpus else {}
    container = {
        "name": "serving",
        "image": args.image,
        "ports": [{"name": "http", "container_port": HTTP_PORT}],
        "env": [{"name": key, "value": value} for key, value in sorted(environment.items())],
        "resources": {"requests": {**amounts, **gpus}, "limits": {**amounts, **gpus}},
        # Loading and the first run may take long; after that an answer comes within seconds.
        "startup_probe": _probe("ready", period=1, failures=args.ready_seconds),
        "readiness_probe": _probe("ready", period=2, failures=2),
        "liveness_probe": _probe("live", period=10, failures=6),
        "lifecycle": {"pre_stop": {"sleep": {"seconds": _LEAVING_SECONDS}}},
        "volume_mounts": [data.mount() for data in args.data],
    }
    return restricted_pod(
        [container],
        init_containers=[data.init_container() for data in args.data],
        volumes=[data.volume() for data in args.data],
        service_account=account,
        priority_class_name=args.priority,
        termination_grace_period_seconds=int(grace),
        topology_spread_constraints=spread(
            chosen, ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
        ),
        **(_on_gpu_node(args.gpu) if plan.gpus else {}),
    )


_CUDA = "CUDAExecutionProvider,CPUExecutionProvider"


def _probe(what: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "http_get": {"path": f"/v2/health/{what}", "port": "http"},
        "period_seconds": period,
        "timeout_seconds": 5,
        "failure_threshold": failures,
    }


def _on_gpu_node(gpu: Gpu) -> dict[str, Any]:
    return {
        "tolerations": [{"key": gpu.taint, "operator": "Exists"}],
        "node_selector": dict(gpu.node_selector),
        **({"runtime_class_name": gpu.runtime_class} if gpu.runtime_class else {}),
    }


def _policy(args: BerthArgs, chosen: Mapping[str, str]) -> dict[str, Any]:
    """In from the gateway and whoever reads metrics; out to the name service alone."""
    from_gateway = [{"pod_selector": {"match_labels": dict(caller)}} for caller in args.callers]
    scraper = {"match_labels": {"kubernetes.io/metadata.name": args.metrics_namespace}}
    return {
        "pod_selector": {"match_labels": dict(chosen)},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [
            {
                "from_": [*from_gateway, {"namespace_selector": scraper}],
                "ports": [{"port": "http", "protocol": "TCP"}],
            }
        ],
        "egress": [NAME_SERVICE],
    }


# A policy sees the port of the pod behind the Service: 53, or where a name server without the right
# to low ports listens (1053, OpenShift 5353).
NAME_SERVICE: dict[str, Any] = {
    "to": [
        {"namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": "kube-system"}}}
    ],
    "ports": [
        {"port": port, "protocol": protocol}
        for port in (53, 1053, 5353)
        for protocol in ("UDP", "TCP")
    ],
}


def _autoscaler(plan: BerthPlan, deployment: str) -> dict[str, Any]:
    metrics: list[dict[str, Any]] = [
        {
            "type": "Resource",
            "resource": {
                "name": "cpu",
                "target": {"type": "Utilization", "average_utilization": plan.target_cpu_percent},
            },
        }
    ]
    if plan.target_in_flight is not None:
        metrics.append(
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": "berth_in_flight_requests"},
                    "target": {
                        "type": "AverageValue",
                        "average_value": str(plan.target_in_flight),
                    },
                },
            }
        )
    return {
        "scale_target_ref": {"api_version": "apps/v1", "kind": "Deployment", "name": deployment},
        "min_replicas": plan.copies,
        "max_replicas": plan.most_copies,
        "metrics": metrics,
        # Up at once, down when it has been quiet for a minute.
        "behavior": {
            "scale_up": {"stabilization_window_seconds": 0},
            "scale_down": {"stabilization_window_seconds": 60},
        },
    }
