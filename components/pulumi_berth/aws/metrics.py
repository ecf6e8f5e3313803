"""The CloudWatch metrics of a stack.

They come from three sources:

- The API's access log, through metric filters (`access_log_plan`): the responses that clients of
  each model receive, including those of API Gateway itself. `AWS/ApiGateway` separates models only
  if each has its own resource with detailed metrics
  (https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html).
- Container Insights: CPU, GPU and replicas of each berth. `PodName` is the name of the Deployment
  (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-metrics-enhanced-EKS.html).
- The berths' own `/metrics`, through the CloudWatch agent (`agent_settings`): requests and queue of
  each version. The agent collects no histograms, so latencies are not among them
  (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/ContainerInsights-Prometheus-metrics-conversion.html).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pulumi_berth.kubernetes.berth_plan import get_berth_name

BERTH_NAMESPACE = "Berth"

Text = Any
"""A string, or a Pulumi output of a string. Plans pass it on unchanged."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric and its statistic.

    Attributes:
        stat: Statistic over all replicas in a minute, such as `Sum`, `Average`, `Maximum`, `p99`.
    """

    namespace: str
    name: str
    dimensions: Mapping[str, Text]
    stat: str


class Compute(StrEnum):
    """The hardware that inference uses."""

    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True, kw_only=True)
class MonitoredModel:
    """A hosted model.

    Attributes:
        name: Name of the model.
        versions: Deployed versions.
        compute: Resource that its inference uses.
        queue: Maximum number of queued requests in one replica, over all its workers.
    """

    name: str
    versions: Sequence[str]
    compute: Compute
    queue: int


@dataclass(frozen=True, kw_only=True)
class MonitoredApi:
    """Name and stage of API Gateway's REST API."""

    name: Text
    stage: Text


@dataclass(frozen=True, kw_only=True)
class MonitoredBalancer:
    """CloudWatch's names of the load balancer and its target group."""

    load_balancer: Text
    target_group: Text


@dataclass(frozen=True, kw_only=True)
class MonitoredCluster:
    """The cluster, and the namespace of the berths."""

    name: Text
    namespace: str


@dataclass(frozen=True, kw_only=True)
class MonitoredStack:
    """The name of a stack, and the parts that report metrics."""

    stack: str
    api: MonitoredApi
    balancer: MonitoredBalancer
    cluster: MonitoredCluster


def metric_namespace(stack: str, model: str) -> str:
    """Return the namespace of a model's access log metrics.

    The model is part of the namespace because a metric filter cannot set a dimension to a constant.
    """
    return f"{BERTH_NAMESPACE}/{stack}/{model}"


def client_metric(stack: str, model: str, name: str, stat: str = "Sum") -> Metric:
    """Return a metric of the responses that a model's clients receive (`access_log_plan`)."""
    return Metric(namespace=metric_namespace(stack, model), name=name, dimensions={}, stat=stat)


def berth_metric(
    cluster: MonitoredCluster, model: str, version: str, name: str, stat: str
) -> Metric:
    """Return a metric that the replicas of a version export.

    `berth_requests_total` counts the requests since the last scrape. Others are gauges, such as
    `berth_queue_requests`.
    """
    return Metric(
        namespace=BERTH_NAMESPACE,
        name=name,
        dimensions={"ClusterName": cluster.name, "model": model, "version": version},
        stat=stat,
    )


def pod_metric(cluster: MonitoredCluster, model: str, version: str, name: str) -> Metric:
    """Return a Container Insights metric of a version, averaged over its replicas."""
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


def utilization_metric(cluster: MonitoredCluster, model: MonitoredModel, version: str) -> Metric:
    """Return the percentage of its CPU or GPU that a version uses."""
    names = {
        Compute.CPU: "pod_cpu_utilization_over_pod_limit",
        Compute.GPU: "pod_gpu_utilization",
    }
    return pod_metric(cluster, model.name, version, names[model.compute])


def node_metric(cluster: MonitoredCluster, name: str, stat: str) -> Metric:
    """Return a Container Insights metric of the cluster's nodes."""
    return Metric(
        namespace="ContainerInsights",
        name=name,
        dimensions={"ClusterName": cluster.name},
        stat=stat,
    )


def api_metric(api: MonitoredApi, name: str, stat: str) -> Metric:
    """Return a metric of an API Gateway stage.

    The average of `5XXError` is the share of all responses.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
    """
    return Metric(
        namespace="AWS/ApiGateway",
        name=name,
        dimensions={"ApiName": api.name, "Stage": api.stage},
        stat=stat,
    )


def balancer_metric(balancer: MonitoredBalancer, name: str, stat: str) -> Metric:
    """Return a metric of the nodes behind the load balancer.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-cloudwatch-metrics.html
    """
    return Metric(
        namespace="AWS/NetworkELB",
        name=name,
        dimensions={
            "LoadBalancer": balancer.load_balancer,
            "TargetGroup": balancer.target_group,
        },
        stat=stat,
    )
