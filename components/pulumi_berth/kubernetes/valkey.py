"""Valkey: the server in which the gateways of a cluster keep the clients' limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import StatefulSet
from pulumi_kubernetes.core.v1 import Secret, Service, ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from pulumi_berth.api_key import ApiKey
from pulumi_berth.component_args import parse_args
from pulumi_berth.kubernetes.objects import (
    PART_OF,
    SKIP_AWAIT,
    add_pull_secret,
    build_labels,
    build_metadata,
    build_restricted_pod,
    limit_ready_time,
    set_priority,
)
from pulumi_berth.valkey_config import PORT, USER, build_config

SELECTOR_LABELS = {"app.kubernetes.io/name": "valkey", "app.kubernetes.io/part-of": PART_OF}
_NAME = "valkey"
_DATA = "/data"
_CONFIG_DIRECTORY = "/etc/valkey"
_READY_SECONDS = 120
_GRACE_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class ValkeyArgs:
    """Arguments for `Valkey`.

    Attributes:
        namespace: Namespace of the stack.
        image: Image of the server, see `pulumi_berth.images.valkey_image.ValkeyImage`.
        callers: Labels of the pods that may connect to the server.
        storage_class: StorageClass of the volume that keeps the data. If None, the data is lost
            with the pod, but not with its container.
        storage_gib: Size of the volume, in GiB. Defaults to 1.
        pull_secret: Secret with which the nodes pull images. None if the nodes can pull images
            without a Secret.
        priority: PriorityClass of the pod. Defaults to the cluster's default.
    """

    namespace: pulumi.Input[str]
    image: pulumi.Input[str]
    callers: Sequence[Mapping[str, str]]
    storage_class: pulumi.Input[str] | None = None
    storage_gib: int | None = None
    pull_secret: pulumi.Input[str] | None = None
    priority: pulumi.Input[str] | None = None


class Valkey(pulumi.ComponentResource):
    """One Valkey server with a generated password, which only the callers can reach.

    Its only user has the permissions of a gateway.

    The gateways continue by themselves while the server restarts, and report what they counted.

    Attributes:
        url: URL of the server with its password, a secret.
    """

    url: pulumi.Output[str]

    def __init__(
        self, name: str, args: ValkeyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:kubernetes:Valkey", name, None, opts)
        args = parse_args(ValkeyArgs, args)
        child_opts = pulumi.ResourceOptions(parent=self)
        labels = build_labels("valkey", name)
        metadata = build_metadata(args.namespace, _NAME, labels)
        password = ApiKey(f"{name}-password", client=_NAME, opts=child_opts)
        config = Secret(
            name,
            # Pulumi generates the name, so that a new password replaces the pod.
            metadata={"namespace": args.namespace, "labels": labels},
            immutable=True,
            string_data={
                "valkey.conf": password.sha256.apply(lambda sha256: build_config(sha256, _DATA))
            },
            opts=child_opts,
        )
        account = ServiceAccount(
            name,
            metadata=metadata,
            automount_service_account_token=False,
            **add_pull_secret(args.pull_secret),
            opts=child_opts,
        )
        NetworkPolicy(name, metadata=metadata, spec=_build_policy(args), opts=child_opts)
        service = Service(
            name,
            metadata=build_metadata(args.namespace, _NAME, labels, SKIP_AWAIT),
            spec={"selector": SELECTOR_LABELS, "ports": [{"port": PORT, "target_port": "valkey"}]},
            opts=child_opts,
        )
        server = StatefulSet(
            name,
            metadata=metadata,
            spec={
                "replicas": 1,
                "service_name": _NAME,
                "selector": {"match_labels": SELECTOR_LABELS},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": _build_pod(args, account.metadata.name, config.metadata.name),
                },
                **_build_claims(args),
            },
            opts=limit_ready_time(_READY_SECONDS, after=[service], opts=child_opts),
        )
        self.url = pulumi.Output.secret(
            pulumi.Output.concat(
                f"valkey://{USER}:", password.key, "@", server.metadata.name, ".",
                args.namespace, f".svc:{PORT}",
            )
        )  # fmt: skip
        self.register_outputs({"url": self.url})


def _build_pod(
    args: ValkeyArgs, account: pulumi.Input[str], config_secret: pulumi.Input[str]
) -> dict[str, Any]:
    probe = {"tcp_socket": {"port": "valkey"}, "timeout_seconds": 5}
    container = {
        "name": "valkey",
        "image": args.image,
        "args": [f"{_CONFIG_DIRECTORY}/valkey.conf"],
        "ports": [{"name": "valkey", "container_port": PORT}],
        "resources": {
            "requests": {"cpu": "50m", "memory": "32Mi"},
            "limits": {"cpu": "1", "memory": "192Mi"},
        },
        "startup_probe": {**probe, "period_seconds": 1, "failure_threshold": _READY_SECONDS},
        "liveness_probe": {**probe, "period_seconds": 10, "failure_threshold": 6},
        "volume_mounts": [
            {"name": "config", "mount_path": _CONFIG_DIRECTORY, "read_only": True},
            {"name": "data", "mount_path": _DATA},
        ],
    }
    data = {"name": "data", "empty_dir": {"size_limit": _build_size(args)}}
    return build_restricted_pod(
        [container],
        service_account=account,
        **set_priority(args.priority),
        termination_grace_period_seconds=_GRACE_SECONDS,
        volumes=[
            {"name": "config", "secret": {"secret_name": config_secret, "default_mode": 0o440}},
            *([data] if args.storage_class is None else []),
        ],
    )


def _build_claims(args: ValkeyArgs) -> dict[str, Any]:
    """Return the StatefulSet's field for a volume that outlives its pods."""
    if args.storage_class is None:
        return {}
    claim = {
        "metadata": {"name": "data", "labels": SELECTOR_LABELS},
        "spec": {
            "access_modes": ["ReadWriteOnce"],
            "storage_class_name": args.storage_class,
            "resources": {"requests": {"storage": _build_size(args)}},
        },
    }
    return {"volume_claim_templates": [claim]}


def _build_size(args: ValkeyArgs) -> str:
    return f"{args.storage_gib or 1}Gi"


def _build_policy(args: ValkeyArgs) -> dict[str, Any]:
    """Allow connections from the callers, and none to other pods."""
    callers = [{"pod_selector": {"match_labels": dict(labels)}} for labels in args.callers]
    return {
        "pod_selector": {"match_labels": SELECTOR_LABELS},
        "policy_types": ["Ingress", "Egress"],
        "ingress": [{"from_": callers, "ports": [{"port": "valkey", "protocol": "TCP"}]}],
    }
