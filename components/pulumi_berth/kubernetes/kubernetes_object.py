"""What all of Berth's Kubernetes objects have in common: labels, and the most careful pod."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

PART_OF = "berth"
# For a Service whose pods come after it, and are waited for themselves: there is nothing to see
# yet, and the provider would take ten seconds to be sure of that.
NOT_AWAITED = {"pulumi.com/skipAwait": "true"}
USER = 65532
_TMP = "tmp"
# For the cluster to say that the time is over, and why.
_TELLING_SECONDS = 15


def labels(component: str, instance: str, **more: str) -> dict[str, str]:
    """The labels that Kubernetes recommends, and Berth's own (`berth/<key>`).

    https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
    """
    return {
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": PART_OF,
        "app.kubernetes.io/managed-by": "pulumi",
        **{f"berth/{key}": value for key, value in more.items()},
    }


def restricted_pod(
    containers: Sequence[Mapping[str, Any]],
    *,
    service_account: pulumi.Input[str],
    token: bool = False,
    tmp: str = "16Mi",
    init_containers: Sequence[Mapping[str, Any]] = (),
    volumes: Sequence[Mapping[str, Any]] = (),
    **more: Any,
) -> dict[str, Any]:
    """A pod that Pod Security `restricted` admits, with nothing writable but /tmp in memory.

    Args:
        token: whether it may talk to the cluster's API.
        tmp: size of /tmp.
        more: further fields of the pod.
    """
    return {
        "service_account_name": service_account,
        "automount_service_account_token": token,
        "enable_service_links": False,
        "security_context": {
            "run_as_non_root": True,
            "run_as_user": USER,
            "run_as_group": USER,
            "fs_group": USER,
            "seccomp_profile": {"type": "RuntimeDefault"},
        },
        **(
            {"init_containers": [_restricted(x) for x in init_containers]}
            if init_containers
            else {}
        ),
        "containers": [_restricted(container) for container in containers],
        "volumes": [
            {"name": _TMP, "empty_dir": {"medium": "Memory", "size_limit": tmp}},
            *volumes,
        ],
        **more,
    }


def _restricted(container: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **container,
        # The end of its log stays with the pod: a node may have cleared the log of what ended.
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


def rolling(ready_seconds: int) -> dict[str, Any]:
    """How a Deployment goes from one kind of pod to the next: a new one is ready before an old
    one is asked to end."""
    return {
        "revision_history_limit": 3,
        "progress_deadline_seconds": ready_seconds,
        "strategy": {
            "type": "RollingUpdate",
            "rolling_update": {"max_unavailable": 0, "max_surge": "25%"},
        },
    }


def spread(
    chosen: Mapping[str, str], over: Sequence[str] = ("kubernetes.io/hostname",)
) -> list[dict[str, Any]]:
    """The pods with the labels `chosen` lie on different nodes, zones and such, where they can."""
    return [
        {
            "max_skew": 1,
            "topology_key": key,
            "when_unsatisfiable": "ScheduleAnyway",
            "label_selector": {"match_labels": dict(chosen)},
        }
        for key in over
    ]


def pulls_with(secret: str | None) -> dict[str, Any]:
    """What a ServiceAccount has so that its pods pull images with the Secret `secret`."""
    return {"image_pull_secrets": [{"name": secret}]} if secret else {}


def in_namespace(
    namespace: pulumi.Input[str],
    name: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, pulumi.Input[str]] | None = None,
) -> dict[str, Any]:
    """An object's metadata. Names are fixed, so that a person finds what the stack says."""
    return {
        "namespace": namespace,
        "name": name,
        "labels": dict(labels),
        **({"annotations": dict(annotations)} if annotations else {}),
    }


def made(resource: pulumi.CustomResource, name: str) -> pulumi.Output[str]:
    """`name`, once the object that carries it is there: who uses it comes after the object."""
    return resource.id.apply(lambda _: name)


def ready_within(
    seconds: int, *, after: Sequence[pulumi.Resource], opts: pulumi.ResourceOptions
) -> pulumi.ResourceOptions:
    """Options of what has pods: once they had `seconds` to become ready, the update fails.

    The provider goes on waiting for a while after the cluster has given up: 10 minutes unless told.
    """
    late = f"{seconds + _TELLING_SECONDS}s"
    return pulumi.ResourceOptions.merge(
        opts,
        pulumi.ResourceOptions(
            depends_on=list(after),
            custom_timeouts=pulumi.CustomTimeouts(create=late, update=late),
        ),
    )
