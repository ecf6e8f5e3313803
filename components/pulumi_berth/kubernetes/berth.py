"""KubernetesBerth: one model version that runs in a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.autoscaling.v2 import HorizontalPodAutoscaler
from pulumi_kubernetes.core.v1 import Service, ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from berth_protocol.paths import LIVE, READY
from pulumi_berth.component_args import parse_args
from pulumi_berth.hosted_models import ReplicaArgs, ResourceArgs
from pulumi_berth.kubernetes.berth_plan import (
    BerthPlan,
    GpuPlacement,
    build_berth_plan,
    get_berth_name,
)
from pulumi_berth.kubernetes.dataset_mount import DatasetMount
from pulumi_berth.kubernetes.object_names import (
    BERTH_TOKEN_FILE,
    METRICS_PORT,
    TOKEN_DIRECTORY,
    TOKEN_KEY,
)
from pulumi_berth.kubernetes.objects import (
    CONNECTION_REQUESTS,
    DNS_EGRESS,
    FORCE_APPLY,
    SKIP_AWAIT,
    add_pull_secret,
    build_labels,
    build_metadata,
    build_probe,
    build_restricted_pod,
    build_rolling_update,
    build_scrape_annotations,
    build_topology_spread,
    limit_ready_time,
    select_namespace,
    set_priority,
)
from pulumi_berth.own_container import OwnContainerArgs, plan_own_container
from pulumi_berth.serving_settings import ServingSettings
from pulumi_berth.values import default_to

HTTP_PORT = 8080
HTTP_PORT_NAME = "http"
KIND_LABELS = {"app.kubernetes.io/name": "berth"}
"""Labels of the pods of every berth."""
# A change of a Service reaches every node and the ingress controller in about a second. A
# terminating pod keeps serving for longer than that before it receives SIGTERM.
_PRE_STOP_SECONDS = 5
# When a pod is not ready any more, the gateway notices within a second, and within another one the
# ingress controller learns where the share of the version goes.
_ACCEPT_SECONDS = 3
# The program needs this long after its grace period to close files and exit.
_EXIT_SECONDS = 5
_READY_SECONDS = 300
_GPU_PROVIDERS = "CUDAExecutionProvider,CPUExecutionProvider"


@dataclass(frozen=True, kw_only=True)
class KubernetesBerthArgs:
    """Arguments for `KubernetesBerth`."""

    namespace: pulumi.Input[str]
    """Namespace of the berth."""
    model: str
    """Model name, as in the model card."""
    version: str
    """Model version, as in the model card."""
    image: pulumi.Input[str]
    """Serving image, `registry/name@sha256:...`."""
    container: OwnContainerArgs | None = None
    """Set if `image` contains a server of your own. The berth then has no port for metrics, and
    `token_secret` and `serving`, except `grace_seconds`, have no effect."""
    replicas: ReplicaArgs | None = None
    """Number of replicas."""
    resources: ResourceArgs | None = None
    """Resources of each replica."""
    serving: ServingSettings | None = None
    """Limits and session options of the serving program."""
    digest: pulumi.Input[str] | None = None
    """Digest of the model version, `sha256:<hex>`, for the annotation `berth/digest`."""
    priority: pulumi.Input[str] | None = None
    """Name of the PriorityClass. Defaults to the cluster's default."""
    callers: Sequence[Mapping[str, pulumi.Input[str]]] | None = None
    """Labels of the pods in the namespace that may send requests to the berth. Defaults to
    none."""
    token_secret: pulumi.Input[str] | None = None
    """Secret in the namespace whose entry `token` inference requests must have in the header
    `x-berth-token`. By default, every caller is let in."""
    metrics_namespace: pulumi.Input[str] | None = None
    """Namespace whose pods may read the metrics, on a port that serves nothing else. Defaults to
    none."""
    ready_seconds: int | None = None
    """Time limit for a new replica to become ready, in seconds. Defaults to 300."""
    gpu: GpuPlacement | None = None
    """Placement of pods with GPUs."""
    datasets: Sequence[DatasetMount] | None = None
    """Datasets that the model reads at `/data/<name>`."""
    pull_secret: pulumi.Input[str] | None = None
    """Secret with which the nodes pull images. By default, the nodes can pull images without
    one."""


class KubernetesBerth(pulumi.ComponentResource):
    """One model version in a cluster: its pods, Service, autoscaler, disruption budget, identity
    and the policy that lists its callers.

    The pods meet Pod Security `restricted` and accept requests only from the callers.
    """

    service: pulumi.Output[str]
    """Name of the Service."""
    url: pulumi.Output[str]
    """URL of the berth inside the cluster."""
    image: pulumi.Output[str]
    """Serving image that the berth runs."""

    def __init__(
        self, name: str, args: KubernetesBerthArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:Berth", name, None, opts)
        args = parse_args(KubernetesBerthArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        berth_name = get_berth_name(args.model, args.version)
        selector = {"berth/model": args.model, "berth/version": args.version}
        pod_labels = {
            **build_labels("berth", berth_name, model=args.model, version=args.version),
            "app.kubernetes.io/version": args.version,
        }
        plan = build_berth_plan(args.replicas, args.resources, args.gpu)
        ready_seconds = default_to(args.ready_seconds, _READY_SECONDS)
        annotations = {
            **({"berth/digest": args.digest} if args.digest is not None else {}),
            "berth/image": args.image,
        }
        metadata = build_metadata(args.namespace, berth_name, pod_labels)
        account = ServiceAccount(
            name,
            metadata=metadata,
            automount_service_account_token=False,
            **add_pull_secret(args.pull_secret),
            opts=child_opts,
        )
        NetworkPolicy(name, metadata=metadata, spec=_build_policy(args, selector), opts=child_opts)
        service = Service(
            name,
            metadata=build_metadata(args.namespace, berth_name, pod_labels, SKIP_AWAIT),
            spec={
                # Include every label by which a policy names berths: the VPC CNI admits a Service's
                # address only if the Service's selector has the labels of the policy's peer.
                # https://github.com/aws/amazon-network-policy-controller-k8s/issues/224
                "selector": {**selector, **KIND_LABELS},
                "ports": [
                    {
                        "name": HTTP_PORT_NAME,
                        "port": HTTP_PORT,
                        "target_port": "http",
                        "app_protocol": "http",
                    },
                    *(
                        [{"name": "metrics", "port": METRICS_PORT, "target_port": "metrics"}]
                        if args.container is None
                        else []
                    ),
                ],
            },
            opts=child_opts,
        )
        deployment = Deployment(
            name,
            metadata=build_metadata(
                args.namespace,
                berth_name,
                pod_labels,
                # An autoscaler that is removed still manages the count. A fixed count replaces it.
                {**annotations, **({} if plan.is_autoscaled else FORCE_APPLY)},
            ),
            spec={
                "replicas": plan.min_replicas,
                "selector": {"match_labels": selector},
                **build_rolling_update(ready_seconds, surges=plan.surges),
                "template": {
                    "metadata": {
                        "labels": pod_labels,
                        "annotations": {
                            **annotations,
                            **(
                                build_scrape_annotations(METRICS_PORT)
                                if args.container is None
                                else {}
                            ),
                        },
                    },
                    "spec": _build_pod(args, plan, selector, account.metadata.name),
                },
            },
            opts=pulumi.ResourceOptions.merge(
                limit_ready_time(ready_seconds, after=[service], opts=child_opts),
                # An autoscaler takes over the count that runs. To omit the field instead would
                # scale the Deployment to one replica first, the default of Kubernetes.
                pulumi.ResourceOptions(
                    ignore_changes=["spec.replicas"] if plan.is_autoscaled else []
                ),
            ),
        )
        if plan.is_autoscaled:
            HorizontalPodAutoscaler(
                name,
                metadata=metadata,
                spec=_build_autoscaler(plan, berth_name),
                opts=pulumi.ResourceOptions.merge(
                    child_opts, pulumi.ResourceOptions(depends_on=[deployment])
                ),
            )
        PodDisruptionBudget(
            name,
            metadata=metadata,
            spec={
                "selector": {"match_labels": selector},
                # Include single replicas; otherwise their nodes cannot drain.
                "max_unavailable": 1,
                "unhealthy_pod_eviction_policy": "AlwaysAllow",
            },
            opts=child_opts,
        )
        # Take the name from the Deployment: resources that use it wait until the berth is ready.
        self.service = deployment.metadata.name
        self.url = pulumi.Output.concat(
            "http://", self.service, ".", args.namespace, ".svc:", str(HTTP_PORT)
        )
        self.image = pulumi.Output.from_input(args.image)
        self.register_outputs({"service": self.service, "url": self.url, "image": self.image})


def _build_pod(
    args: KubernetesBerthArgs,
    plan: BerthPlan,
    selector: Mapping[str, str],
    account: pulumi.Input[str],
) -> dict[str, Any]:
    datasets = args.datasets or ()
    serving = args.serving or ServingSettings()
    grace_seconds = serving.with_defaults()["grace_seconds"]
    grace_period = _PRE_STOP_SECONDS + grace_seconds + _EXIT_SECONDS
    amounts: dict[str, pulumi.Input[str]] = {"memory": plan.memory}
    if plan.gpus:
        amounts["nvidia.com/gpu"] = str(plan.gpus)
    program = (
        _build_serving_program(args, serving, plan)
        if args.container is None
        else _build_own_program(args, args.container)
    )
    token_secret = args.token_secret if args.container is None else None
    container = {
        "name": "serving",
        "image": args.image,
        **program,
        "resources": {
            "requests": {"cpu": plan.cpu, **amounts},
            "limits": {"cpu": plan.cpu_limit, **amounts},
        },
        "lifecycle": {"pre_stop": {"sleep": {"seconds": _PRE_STOP_SECONDS}}},
        "volume_mounts": [
            *(dataset.build_mount() for dataset in datasets),
            *_build_token_mounts(token_secret),
        ],
    }
    return build_restricted_pod(
        [container],
        init_containers=[dataset.build_init_container() for dataset in datasets],
        volumes=[
            *(dataset.build_volume() for dataset in datasets),
            *_build_token_volumes(token_secret),
        ],
        service_account=account,
        **set_priority(args.priority),
        termination_grace_period_seconds=int(grace_period),
        topology_spread_constraints=build_topology_spread(
            selector, ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
        ),
        **(_place_on_gpu_node(args.gpu or GpuPlacement()) if plan.gpus else {}),
    )


def _build_serving_program(
    args: KubernetesBerthArgs, serving: ServingSettings, plan: BerthPlan
) -> dict[str, Any]:
    """Return ports, environment and probes of Berth's serving program."""
    environment = {
        **serving.environment(),
        "BERTH_PORT": str(HTTP_PORT),
        "BERTH_METRICS_PORT": str(METRICS_PORT),
        "BERTH_ACCEPT_SECONDS": str(_ACCEPT_SECONDS),
        "BERTH_CONNECTION_REQUESTS": str(CONNECTION_REQUESTS),
        **({"BERTH_TOKEN_FILE": BERTH_TOKEN_FILE} if args.token_secret is not None else {}),
        **({"BERTH_EXECUTION_PROVIDERS": _GPU_PROVIDERS} if plan.gpus else {}),
    }
    return {
        "ports": [
            {"name": "http", "container_port": HTTP_PORT},
            {"name": "metrics", "container_port": METRICS_PORT},
        ],
        "env": [{"name": key, "value": value} for key, value in sorted(environment.items())],
        **_build_probes(args, started=READY, ready=READY, live=LIVE),
    }


def _build_own_program(args: KubernetesBerthArgs, container: OwnContainerArgs) -> dict[str, Any]:
    """Return port and probes of a server of the user's own."""
    plan = plan_own_container(container, args.model, args.version)
    return {
        "ports": [{"name": "http", "container_port": plan.port}],
        **_build_probes(
            args, started=plan.started_path, ready=plan.ready_path, live=plan.live_path
        ),
    }


def _build_probes(
    args: KubernetesBerthArgs, *, started: str, ready: str, live: str
) -> dict[str, Any]:
    ready_seconds = default_to(args.ready_seconds, _READY_SECONDS)
    return {
        # Loading the model and the first run may be slow; later probes respond within seconds.
        "startup_probe": _build_health_probe(started, period=1, failures=ready_seconds),
        "readiness_probe": _build_health_probe(ready, period=2, failures=2),
        "liveness_probe": _build_health_probe(live, period=10, failures=6),
    }


def _build_token_mounts(secret: pulumi.Input[str] | None) -> list[dict[str, Any]]:
    if secret is None:
        return []
    return [{"name": "token", "mount_path": TOKEN_DIRECTORY, "read_only": True}]


def _build_token_volumes(secret: pulumi.Input[str] | None) -> list[dict[str, Any]]:
    if secret is None:
        return []
    items = [{"key": TOKEN_KEY, "path": TOKEN_KEY}]
    source = {"secret_name": secret, "default_mode": 0o440, "items": items}
    return [{"name": "token", "secret": source}]


def _build_health_probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return build_probe(path, "http", period=period, failures=failures)


def _place_on_gpu_node(gpu: GpuPlacement) -> dict[str, Any]:
    return {
        "tolerations": [{"key": gpu.taint or "nvidia.com/gpu", "operator": "Exists"}],
        "node_selector": dict(gpu.node_selector or {}),
        **({"runtime_class_name": gpu.runtime_class} if gpu.runtime_class else {}),
    }


def _build_policy(args: KubernetesBerthArgs, selector: Mapping[str, str]) -> dict[str, Any]:
    """Allow requests from the callers, metrics scrapes, and DNS queries."""
    peers = [{"pod_selector": {"match_labels": dict(labels)}} for labels in args.callers or ()]
    scrapers = (
        [select_namespace(args.metrics_namespace)]
        if args.metrics_namespace is not None and args.container is None
        else []
    )
    return {
        "pod_selector": {"match_labels": dict(selector)},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [
            {"from_": sources, "ports": [{"port": port, "protocol": "TCP"}]}
            for sources, port in ((peers, "http"), (scrapers, "metrics"))
            if sources  # A rule without peers would admit everyone.
        ],
        "egress": [DNS_EGRESS],
    }


def _build_autoscaler(plan: BerthPlan, deployment: str) -> dict[str, Any]:
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
        "min_replicas": plan.min_replicas,
        "max_replicas": plan.max_replicas,
        "metrics": metrics,
        # Scale up at once. Scale down after a minute of lower load.
        "behavior": {
            "scale_up": {"stabilization_window_seconds": 0},
            "scale_down": {"stabilization_window_seconds": 60},
        },
    }
