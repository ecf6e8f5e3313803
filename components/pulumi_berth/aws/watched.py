"""What is watched, and the metrics that there are of it.

Three sources, each for what it alone knows:

- the API's access log, through metric filters (`access_log_plan`): what clients get, for each
  model, also where API Gateway itself answered. `AWS/ApiGateway` knows models only where each has a
  resource of its own, with detailed metrics
  (https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html).
- Container Insights: processor, graphics processor and copies of each berth. `PodName` is the name
  of the Deployment
  (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-metrics-enhanced-EKS.html).
- the berths' own `/metrics`, through CloudWatch's agent (`agent_settings`): requests and queue of
  each version. The agent takes no histograms, so there are no latencies among them
  (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/ContainerInsights-Prometheus-metrics-conversion.html).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pulumi_berth.kubernetes.berth_plan import get_berth_name

BERTH_NAMESPACE = "Berth"

Text = Any
"""A text, or a Pulumi output of one: plans pass it on as it is."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric and how it is summed up.

    Attributes:
        stat: over the copies and the minute: `Sum`, `Average`, `Maximum`, `p99` and such.
    """

    namespace: str
    name: str
    dimensions: Mapping[str, Text]
    stat: str


@dataclass(frozen=True, kw_only=True)
class WatchedModel:
    """A model that is hosted.

    Attributes:
        name: of the model.
        versions: those that are deployed.
        compute: what its runs use up.
        queue: requests that may wait in one copy of a version, in all its workers.
    """

    name: str
    versions: Sequence[str]
    compute: Literal["cpu", "gpu"]
    queue: int


@dataclass(frozen=True, kw_only=True)
class WatchedApi:
    """API Gateway's REST API: its name and stage."""

    name: Text
    stage: Text


@dataclass(frozen=True, kw_only=True)
class WatchedBalancer:
    """The balancer before the nodes, as CloudWatch calls it and the nodes behind it."""

    load_balancer: Text
    target_group: Text


@dataclass(frozen=True, kw_only=True)
class WatchedCluster:
    """The cluster, and the namespace that the berths are in."""

    name: Text
    namespace: str


@dataclass(frozen=True, kw_only=True)
class WatchedStack:
    """A stack, its name and where its parts report."""

    stack: str
    api: WatchedApi
    balancer: WatchedBalancer
    cluster: WatchedCluster


def model_namespace(stack: str, model: str) -> str:
    """The namespace of what the access log tells of a model: a metric filter cannot put a fixed
    text into a dimension."""
    return f"{BERTH_NAMESPACE}/{stack}/{model}"


def answered(stack: str, model: str, name: str, stat: str = "Sum") -> Metric:
    """What clients of a model got; `name` is one of `access_log_plan`."""
    return Metric(namespace=model_namespace(stack, model), name=name, dimensions={}, stat=stat)


def served(cluster: WatchedCluster, model: str, version: str, name: str, stat: str) -> Metric:
    """What the copies of a version tell themselves: `berth_requests_total`, the requests since the
    last reading, or a gauge such as `berth_queue_requests`."""
    return Metric(
        namespace=BERTH_NAMESPACE,
        name=name,
        dimensions={"ClusterName": cluster.name, "model": model, "version": version},
        stat=stat,
    )


def pods(cluster: WatchedCluster, model: str, version: str, name: str) -> Metric:
    """What Container Insights tells of a version's copies, averaged over them."""
    return Metric(
        namespace="ContainerInsights",
        name=name,
        dimensions={
            "ClusterName": cluster.name,
            "Namespace": cluster.namespace,
            "PodName": get_berth_name(model, version),
        },
        stat="Average",
    )


def used(cluster: WatchedCluster, model: WatchedModel, version: str) -> Metric:
    """Percent of its processor, or graphics processor, that a version uses."""
    names = {"cpu": "pod_cpu_utilization_over_pod_limit", "gpu": "pod_gpu_utilization"}
    return pods(cluster, model.name, version, names[model.compute])


def nodes(cluster: WatchedCluster, name: str, stat: str) -> Metric:
    """What Container Insights tells of the cluster's nodes."""
    return Metric(
        namespace="ContainerInsights",
        name=name,
        dimensions={"ClusterName": cluster.name},
        stat=stat,
    )


def api(watched: WatchedApi, name: str, stat: str) -> Metric:
    """What API Gateway tells of a stage; the average of `5XXError` is their share of all answers.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
    """
    return Metric(
        namespace="AWS/ApiGateway",
        name=name,
        dimensions={"ApiName": watched.name, "Stage": watched.stage},
        stat=stat,
    )


def balancer(watched: WatchedBalancer, name: str, stat: str) -> Metric:
    """What the balancer tells of the nodes behind it.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-cloudwatch-metrics.html
    """
    return Metric(
        namespace="AWS/NetworkELB",
        name=name,
        dimensions={
            "LoadBalancer": watched.load_balancer,
            "TargetGroup": watched.target_group,
        },
        stat=stat,
    )
