"""Settings of the CloudWatch agent: the add-on amazon-cloudwatch-observability."""

from typing import Any

from pulumi_berth.aws.metrics import BERTH_NAMESPACE

_JOB = "berth"
# The add-on writes the settings `agent.prometheus.config` to this file.
_PROMETHEUS_CONFIG = "/etc/prometheusconfig/prometheus.yaml"


def build_agent_settings(cluster_name: str, namespace: str) -> dict[str, Any]:
    """Return settings for Container Insights and for the metrics of the berths in `namespace`.

    The agent sends requests and queue length by cluster, model and version to CloudWatch, and
    requests also by status code (`metrics.berth_metric`).

    Each agent scrapes only the berths on its own node. So every berth is scraped once. Kubernetes
    always lets a node reach its own Pods, while Berth's network policies would block an agent on
    another node.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/install-CloudWatch-Observability-EKS-addon.html
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/ContainerInsights-Prometheus-Setup-configure.html
    """
    return {
        "agent": {
            # These replace the add-on's defaults, so Application Signals, which would change the
            # Pods to trace them, stays off.
            "config": {
                "logs": {
                    "metrics_collected": {
                        "kubernetes": {"enhanced_container_insights": True},
                        "prometheus": _metric_settings(cluster_name),
                    }
                }
            },
            # The key `global` makes the agent read this as plain Prometheus configuration.
            "prometheus": {
                "config": {
                    "global": {"scrape_interval": "1m"},
                    "scrape_configs": [_scrape_config(namespace)],
                }
            },
        }
    }


def _metric_settings(cluster_name: str) -> dict[str, Any]:
    def declaration(dimensions: list[str], metrics: list[str]) -> dict[str, Any]:
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
        "prometheus_config_path": _PROMETHEUS_CONFIG,
        "emf_processor": {
            "metric_namespace": BERTH_NAMESPACE,
            "metric_declaration": [
                declaration(version, ["^berth_requests_total$", "^berth_queue_requests$"]),
                declaration([*version, "code"], ["^berth_requests_total$"]),
            ],
        },
    }


def _scrape_config(namespace: str) -> dict[str, Any]:
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
                "regex": "metrics",
                "action": "keep",
            }
        ],
    }
