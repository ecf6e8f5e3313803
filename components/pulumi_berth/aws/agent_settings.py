"""What CloudWatch's agent in the cluster is told: the settings of the add-on
amazon-cloudwatch-observability."""

from typing import Any

from pulumi_berth.aws.watched import BERTH_NAMESPACE

_JOB = "berth"
# Where the add-on puts the settings `agent.prometheus.config`.
_SCRAPING = "/etc/prometheusconfig/prometheus.yaml"


def agent_settings(cluster_name: str, namespace: str) -> dict[str, Any]:
    """Container Insights, and what the berths in `namespace` measure themselves, as metrics of
    CloudWatch: requests and queue by cluster, model and version, and requests by status besides
    (`watched.served`).

    Each agent reads the berths of its own node alone. So every berth is read once; and Kubernetes
    lets a node reach its own pods whatever the network policies say, where those of Berth would
    keep an agent of another node out.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/install-CloudWatch-Observability-EKS-addon.html
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/ContainerInsights-Prometheus-Setup-configure.html
    """
    return {
        "agent": {
            # These take the place of the add-on's own: without Application Signals, which would
            # change the pods to trace them.
            "config": {
                "logs": {
                    "metrics_collected": {
                        "kubernetes": {"enhanced_container_insights": True},
                        "prometheus": _collected(cluster_name),
                    }
                }
            },
            # By `global` the agent knows that these are Prometheus's settings as they stand.
            "prometheus": {
                "config": {
                    "global": {"scrape_interval": "1m"},
                    "scrape_configs": [_scraped(namespace)],
                }
            },
        }
    }


def _collected(cluster_name: str) -> dict[str, Any]:
    def declared(dimensions: list[str], metrics: list[str]) -> dict[str, Any]:
        return {
            "source_labels": ["job"],
            "label_matcher": f"^{_JOB}$",
            "dimensions": [dimensions],
            "metric_selectors": metrics,
        }

    version = ["ClusterName", "model", "version"]
    return {
        "cluster_name": cluster_name,
        "log_group_name": f"/aws/containerinsights/{cluster_name}/prometheus",
        "prometheus_config_path": _SCRAPING,
        "emf_processor": {
            "metric_namespace": BERTH_NAMESPACE,
            "metric_declaration": [
                declared(version, ["^berth_requests_total$", "^berth_queue_requests$"]),
                declared([*version, "code"], ["^berth_requests_total$"]),
            ],
        },
    }


def _scraped(namespace: str) -> dict[str, Any]:
    return {
        "job_name": _JOB,
        "metrics_path": "/metrics",
        "kubernetes_sd_configs": [
            {
                "role": "pod",
                "namespaces": {"names": [namespace]},
                "selectors": [
                    {
                        "role": "pod",
                        "label": "berth/model",
                        "field": "spec.nodeName=${env:K8S_NODE_NAME}",
                    }
                ],
            }
        ],
        "relabel_configs": [
            {
                "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                "regex": "http",
                "action": "keep",
            }
        ],
    }
