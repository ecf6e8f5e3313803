"""Parts that all Kubernetes objects of a stack share: metadata, pods, probes and policies."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from berth_protocol.paths import METRICS

PART_OF = "berth"
TLS_NAME = "berth-tls"
"""Name of the stack's Certificate, and of the Secret that cert-manager writes for it."""
SKIP_AWAIT = {"pulumi.com/skipAwait": "true"}
"""Annotation for a Service that is created before its pods. Their Deployment is awaited instead:
for a Service without pods, the provider would wait ten seconds."""
FORCE_APPLY = {"pulumi.com/patchForce": "true"}
"""Annotation for an object whose fields another field manager may have set."""
CONNECTION_REQUESTS = 16
"""Requests after which a pod closes a connection. A Service's address selects a pod for each
connection, so that connections that are kept would leave out a pod that an autoscaler adds."""
USER = 65532
_TMP = "tmp"
# The cluster needs this long to report a missed deadline and its reason.
_REPORT_SECONDS = 15


def build_labels(component: str, instance: str, **berth_labels: str) -> dict[str, str]:
    """Return the labels that Kubernetes recommends, plus Berth's labels (`berth/<key>`).

    https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
    """
    return {
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": PART_OF,
        "app.kubernetes.io/managed-by": "pulumi",
        **{f"berth/{key}": value for key, value in berth_labels.items()},
    }


def build_metadata(
    namespace: pulumi.Input[str],
    name: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, pulumi.Input[str]] | None = None,
) -> dict[str, Any]:
    """Return an object's metadata. The name is fixed, so kubectl shows the names of the stack."""
    return {
        "namespace": namespace,
        "name": name,
        "labels": dict(labels),
        **({"annotations": dict(annotations)} if annotations else {}),
    }


def build_restricted_pod(
    containers: Sequence[Mapping[str, Any]],
    *,
    service_account: pulumi.Input[str],
    mount_token: bool = False,
    tmp_size: str = "16Mi",
    init_containers: Sequence[Mapping[str, Any]] = (),
    volumes: Sequence[Mapping[str, Any]] = (),
    **pod_fields: Any,
) -> dict[str, Any]:
    """Return a pod that Pod Security `restricted` admits. Only /tmp, in memory, is writable.

    Args:
        mount_token: Whether the pod gets a token for the cluster's API.
        tmp_size: Size of /tmp, as a Kubernetes quantity.
        pod_fields: Additional fields of the pod specification.
    """
    return {
        "service_account_name": service_account,
        "automount_service_account_token": mount_token,
        "enable_service_links": False,
        "security_context": {
            "run_as_non_root": True,
            "run_as_user": USER,
            "run_as_group": USER,
            "fs_group": USER,
            "seccomp_profile": {"type": "RuntimeDefault"},
        },
        **(
            {"init_containers": [_restrict(container) for container in init_containers]}
            if init_containers
            else {}
        ),
        "containers": [_restrict(container) for container in containers],
        "volumes": [
            {"name": _TMP, "empty_dir": {"medium": "Memory", "size_limit": tmp_size}},
            *volumes,
        ],
        **pod_fields,
    }


def _restrict(container: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **container,
        # The pod keeps the end of its log: the node may have deleted the log of an ended container.
        "termination_message_policy": "FallbackToLogsOnError",
        "security_context": {
            "allow_privilege_escalation": False,
            "read_only_root_filesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volume_mounts": [
            {"name": _TMP, "mount_path": "/tmp"},  # noqa: S108
            *container.get("volume_mounts", []),
        ],
    }


def build_probe(path: str, port: str, *, period: int, failures: int) -> dict[str, Any]:
    """Return an HTTP probe that runs every `period` seconds and fails after `failures` failures."""
    return {
        "http_get": {"path": path, "port": port},
        "period_seconds": period,
        "timeout_seconds": 5,
        "failure_threshold": failures,
    }


def build_rolling_update(ready_seconds: int, *, surges: bool = True) -> dict[str, Any]:
    """Return a Deployment's update settings.

    Args:
        surges: Whether a new pod is ready before an old pod terminates. Otherwise one old pod
            terminates first, because the cluster has no room for an additional pod.
    """
    steps: dict[str, Any] = (
        {"max_unavailable": 0, "max_surge": "25%"}
        if surges
        else {"max_unavailable": 1, "max_surge": 0}
    )
    return {
        "revision_history_limit": 3,
        "progress_deadline_seconds": ready_seconds,
        "strategy": {
            "type": "RollingUpdate",
            "rolling_update": steps,
        },
    }


def build_scrape_annotations(port: int) -> dict[str, str]:
    """Return the pod annotations by which a Prometheus without an operator finds metrics.

    https://github.com/prometheus/prometheus/blob/main/documentation/examples/prometheus-kubernetes.yml
    """
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(port),
        "prometheus.io/path": METRICS,
    }


def build_topology_spread(
    selector: Mapping[str, str],
    topology_keys: Sequence[str] = ("kubernetes.io/hostname",),
    *,
    required: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return constraints that spread the selected pods over nodes, zones and so on, if possible.

    Args:
        required: Those of the keys for which a pod waits if it is not possible.
    """
    return [
        {
            "max_skew": 1,
            "topology_key": key,
            "when_unsatisfiable": "DoNotSchedule" if key in required else "ScheduleAnyway",
            "label_selector": {"match_labels": dict(selector)},
        }
        for key in topology_keys
    ]


def add_pull_secret(secret: pulumi.Input[str] | None) -> dict[str, Any]:
    """Return the ServiceAccount field with which its pods pull images through `secret`."""
    return {"image_pull_secrets": [{"name": secret}]} if secret is not None else {}


def set_priority(name: pulumi.Input[str] | None) -> dict[str, Any]:
    """Return the pod field for a PriorityClass. Without a name, the cluster's default applies."""
    return {} if name is None else {"priority_class_name": name}


def select_namespace(name: pulumi.Input[str]) -> dict[str, Any]:
    """Return a NetworkPolicy peer: every pod of the namespace `name`."""
    return {"namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": name}}}


# A policy sees the port of the pod behind the DNS Service: 53, or the port of a DNS server that
# must not bind to low ports (1053, on OpenShift 5353).
DNS_EGRESS: dict[str, Any] = {
    "to": [select_namespace("kube-system")],
    "ports": [
        {"port": port, "protocol": protocol}
        for port in (53, 1053, 5353)
        for protocol in ("UDP", "TCP")
    ],
}
"""NetworkPolicy rule that allows DNS queries."""


def get_name_after_create(resource: pulumi.CustomResource, name: str) -> pulumi.Output[str]:
    """Return `name` once `resource`, which has that name, exists. Its users are created later."""
    return resource.id.apply(lambda _: name)


def limit_ready_time(
    seconds: int, *, after: Sequence[pulumi.Resource], opts: pulumi.ResourceOptions
) -> pulumi.ResourceOptions:
    """Return options for a Deployment that fails the update unless its pods are ready in time.

    The cluster reports the missed deadline. Without a timeout, the provider would wait 10 minutes.

    Args:
        seconds: Time limit for the pods to become ready.
        after: Resources that must exist before the Deployment.
    """
    timeout = f"{seconds + _REPORT_SECONDS}s"
    return pulumi.ResourceOptions.merge(
        opts,
        pulumi.ResourceOptions(
            depends_on=list(after),
            custom_timeouts=pulumi.CustomTimeouts(create=timeout, update=timeout),
        ),
    )
