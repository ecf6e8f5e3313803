"""KubernetesHosting: everything that serves models in a cluster."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.core.v1 import Secret

from pulumi_berth.api_key import ApiKey, ClientKeys, create_client_keys, select_newest_keys
from pulumi_berth.component_args import parse_args
from pulumi_berth.gateway_config import (
    DEFAULT_MAX_BODY_BYTES,
    declare_gateway_config,
)
from pulumi_berth.hosted_models import (
    check_clients,
    check_models,
    find_digest,
    resolve_clients,
)
from pulumi_berth.images.hosting_images import HostingImages, create_images
from pulumi_berth.kubernetes.berth import (
    KubernetesBerth,
    KubernetesBerthArgs,
)
from pulumi_berth.kubernetes.berth_plan import (
    is_in_use,
    plan_replicas,
)
from pulumi_berth.kubernetes.cluster_access import ClusterAccess
from pulumi_berth.kubernetes.entry_pods import EntryPodsArgs
from pulumi_berth.kubernetes.gateway import PUBLIC_PORT, Gateway, GatewayArgs, SharedLimits
from pulumi_berth.kubernetes.hosting_args import (
    HostingLimitsArgs,
    KubernetesHostingArgs,
    get_metrics_namespace,
)
from pulumi_berth.kubernetes.hosting_entry import (
    attach_to_gateway,
    declare_controller,
    find_callers,
)
from pulumi_berth.kubernetes.hosting_namespace import HostingNamespace, HostingNamespaceArgs
from pulumi_berth.kubernetes.monitoring import create_monitoring, has_monitoring
from pulumi_berth.kubernetes.object_names import (
    GATEWAY_LABELS,
    TOKEN_KEY,
    TRAEFIK_LABELS,
    list_object_names,
)
from pulumi_berth.kubernetes.objects import build_labels
from pulumi_berth.kubernetes.pod_monitors import create_pod_monitors
from pulumi_berth.kubernetes.traefik import Traefik
from pulumi_berth.kubernetes.valkey import SELECTOR_LABELS as VALKEY_LABELS
from pulumi_berth.kubernetes.valkey import Valkey, ValkeyArgs
from pulumi_berth.own_container import plan_own_container
from pulumi_berth.serving_settings import ServingSettings
from pulumi_berth.signing.hosted_versions import check_signatures
from pulumi_berth.values import default_to


@dataclass(frozen=True, kw_only=True)
class KubernetesHostingParts:
    """What a hosting stack in a cluster consists of.

    Attributes:
        berths: Berth of each (model, version).
        gateway_service: Name of the Service of Berth's gateway.
        traefik: Ingress controller. None if an existing Gateway receives the requests.
        namespace: Namespace that contains everything.
    """

    berths: Mapping[tuple[str, str], KubernetesBerth]
    gateway_service: pulumi.Output[str]
    traefik: Traefik | None
    namespace: HostingNamespace


class KubernetesHosting(pulumi.ComponentResource):
    """A hosting stack in a cluster: a namespace with default deny, a berth for each model version,
    the gateway, the Valkey server that keeps its limits, the ingress controller and the routes.

    The cluster must have the custom resource definitions of the Gateway API and of Traefik. Pass
    its provider in the options.
    """

    namespace: pulumi.Output[str]
    """Namespace that contains everything."""
    service: pulumi.Output[str]
    """Name of the Service through which clients reach the models. With `parent_gateway`, only the
    controller of that Gateway reaches it."""
    port: pulumi.Output[int]
    """Port of that Service: the node port for a NodePort Service."""
    api_keys: pulumi.Output[dict[str, str]]
    """Newest API key of each client, a secret."""

    def __init__(
        self, name: str, args: KubernetesHostingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("berth:index:KubernetesHosting", name, None, opts)
        args = parse_args(KubernetesHostingArgs, args)
        check_models(args.models)
        check_signatures(args.models, args.trusted_keys)
        check_clients(args.clients, args.models)
        child_opts, prefix = pulumi.ResourceOptions(parent=self), f"{name}-"
        limits = args.limits or HostingLimitsArgs()
        images = create_images(
            args.models,
            args.images,
            gateway=args.gateway_image,
            valkey=args.valkey_image,
            has_own_valkey=limits.valkey_url is None,
            opts=child_opts,
            prefix=prefix,
        )
        clients = resolve_clients(args.clients)
        keys = create_client_keys(clients, opts=child_opts, prefix=prefix)
        parts = declare_hosting(
            args,
            access=self._find_access(args),
            images=images,
            keys=keys,
            opts=child_opts,
            prefix=prefix,
        )
        self.namespace = parts.namespace.name
        if parts.traefik is None:
            self.service, self.port = parts.gateway_service, pulumi.Output.from_input(PUBLIC_PORT)
        else:
            self.service, self.port = parts.traefik.service.metadata.name, parts.traefik.port
        self.api_keys = pulumi.Output.secret(pulumi.Output.all(**select_newest_keys(clients, keys)))
        self.register_outputs(
            {
                "namespace": self.namespace,
                "service": self.service,
                "port": self.port,
                "api_keys": self.api_keys,
            }
        )

    def _find_access(self, args: KubernetesHostingArgs) -> ClusterAccess | None:
        """Return the access for the ownership checks, or None with a warning.

        A component cannot read the credentials of a provider that the program created: they may be
        known only after the cluster exists.
        """
        if args.kubeconfig is not None or "kubernetes" not in self._providers:
            return ClusterAccess(kubeconfig=args.kubeconfig, context=args.context)
        pulumi.log.warn(
            f"Nothing checks who owns namespace '{args.namespace}', because the options have a "
            "provider and kubeconfig is not set. This stack takes over an existing namespace and "
            "objects in it with the names of this stack's objects, and 'destroy' deletes the "
            "namespace with everything in it, unless adopt_namespace is true. Set kubeconfig, and "
            "context if needed, to a kubeconfig that reaches the same cluster.",
            self,
        )
        return None


def declare_hosting(
    args: KubernetesHostingArgs,
    *,
    access: ClusterAccess | None,
    images: HostingImages,
    keys: ClientKeys,
    opts: pulumi.ResourceOptions,
    prefix: str = "",
) -> KubernetesHostingParts:
    """Declare the namespace, a berth per model version, the gateway, Traefik, and the routes.

    With `parent_gateway`, there is no Traefik, and one route for all requests.

    Args:
        access: Access to the cluster, to check who owns the namespace. None if there is none.
        keys: API keys of each client, by name.
        opts: Options that contain the cluster's provider.
        prefix: Prefix of the logical resource names.
    """
    namespace = HostingNamespace(
        f"{prefix}namespace",
        HostingNamespaceArgs(
            namespace=args.namespace,
            adopt=args.adopt_namespace,
            names=list_object_names(
                {name: list(model.versions) for name, model in args.models.items()},
                has_controller=args.parent_gateway is None,
                has_monitoring=has_monitoring(args),
            ),
            access=access,
        ),
        opts,
    )
    unmarked_opts = opts
    opts = pulumi.ResourceOptions.merge(
        opts,
        pulumi.ResourceOptions(transformations=[namespace.mark_object, namespace.collect_object]),
    )
    # Client names contain no underscore, so this name cannot collide with a client's key.
    token = ApiKey(f"{prefix}berth_token", client="gateway", opts=opts).key
    token_secret = Secret(
        f"{prefix}berth-token",
        # Pulumi generates the name, so that a new token replaces the pods that read it.
        metadata={
            "namespace": namespace.name,
            "labels": build_labels("berth-token", "berth-token"),
        },
        immutable=True,
        string_data={TOKEN_KEY: token},
        opts=opts,
    )
    berths = _declare_berths(
        args, namespace, images, token_secret.metadata.name, opts=opts, prefix=prefix
    )
    metrics_namespace = get_metrics_namespace(args)
    gateway = Gateway(
        f"{prefix}gateway",
        GatewayArgs(
            namespace=namespace.name,
            image=images.gateway,
            config=declare_gateway_config(
                args.models,
                resolve_clients(args.clients),
                keys,
                {version: berth.url for version, berth in berths.items()},
                max_body_bytes=args.max_body_bytes,
                timeout_seconds=args.timeout_seconds,
                body_memory_bytes=args.body_memory_bytes,
                jwt=args.jwt,
                blocking=args.blocking,
                splits_traffic=args.parent_gateway is not None,
            ),
            token=token,
            limits=_declare_limits(args, namespace, images, opts=opts, prefix=prefix),
            callers=find_callers(args),
            has_authorizer=args.parent_gateway is None,
            metrics_namespace=metrics_namespace,
            jwks_url=args.jwt.jwks_url if args.jwt is not None else None,
            container_ports=[
                plan_own_container(entry.container, name, version).port
                for name, model in args.models.items()
                for version, entry in model.versions.items()
                if entry.container is not None
            ],
            pull_secret=args.pull_secret,
            priority=namespace.entry_priority,
            pods=EntryPodsArgs(
                replicas=args.gateway_replicas,
                max_replicas=args.gateway_max_replicas,
                resources=args.gateway_resources,
                require_zones=args.require_zones,
            ),
        ),
        opts,
    )
    if args.has_prometheus_operator:
        create_pod_monitors(
            namespace.name,
            args.monitor_labels or {},
            has_controller=args.parent_gateway is None,
            opts=opts,
            prefix=prefix,
        )
    if has_monitoring(args):
        create_monitoring(args, namespace.name, opts=opts, prefix=prefix)
    if args.parent_gateway is not None:
        attach_to_gateway(
            args, args.parent_gateway, namespace, gateway, access, opts=opts, prefix=prefix
        )
        traefik = None
    else:
        traefik = declare_controller(args, namespace, gateway, berths, opts=opts, prefix=prefix)
    namespace.guard_removal(f"{prefix}namespace-guard", unmarked_opts)
    return KubernetesHostingParts(
        berths=berths, gateway_service=gateway.service, traefik=traefik, namespace=namespace
    )


def _declare_limits(
    args: KubernetesHostingArgs,
    namespace: HostingNamespace,
    images: HostingImages,
    *,
    opts: pulumi.ResourceOptions,
    prefix: str,
) -> SharedLimits:
    """Declare the server that keeps the limits of this cluster, unless there is one."""
    limits = args.limits or HostingLimitsArgs()
    if limits.valkey_url is not None:
        return SharedLimits(
            valkey_url=pulumi.Output.secret(limits.valkey_url),
            prefix=default_to(limits.prefix, f"berth:{args.namespace}"),
            when_unreachable=limits.when_unreachable,
        )
    assert images.valkey is not None
    valkey = Valkey(
        f"{prefix}valkey",
        ValkeyArgs(
            namespace=namespace.name,
            image=images.valkey,
            callers=[GATEWAY_LABELS],
            storage_class=limits.storage_class,
            storage_gib=limits.storage_gib,
            pull_secret=args.pull_secret,
            priority=namespace.entry_priority,
        ),
        opts,
    )
    return SharedLimits(
        valkey_url=valkey.url,
        prefix="berth",
        pods=VALKEY_LABELS,
        when_unreachable=limits.when_unreachable,
    )


def _declare_berths(
    args: KubernetesHostingArgs,
    namespace: HostingNamespace,
    images: HostingImages,
    token_secret: pulumi.Input[str],
    *,
    opts: pulumi.ResourceOptions,
    prefix: str,
) -> dict[tuple[str, str], KubernetesBerth]:
    return {
        (name, version): KubernetesBerth(
            f"{prefix}{name}-{version}",
            KubernetesBerthArgs(
                namespace=namespace.name,
                model=name,
                version=version,
                digest=find_digest(entry),
                container=entry.container,
                image=images.serving[name, version],
                replicas=plan_replicas(
                    model,
                    version,
                    # An own container has no metric of requests in flight.
                    has_pod_metrics=bool(args.has_pod_metrics) and entry.container is None,
                ),
                resources=model.resources,
                # Bodies do not pass through the gateway, so the berth applies its limit too.
                serving=(model.serving or ServingSettings()).limit_body(
                    default_to(args.max_body_bytes, DEFAULT_MAX_BODY_BYTES)
                ),
                priority=namespace.exposed_priority
                if is_in_use(model, version)
                else namespace.standby_priority,
                callers=[GATEWAY_LABELS]
                if args.parent_gateway is not None or entry.container is not None
                else [TRAEFIK_LABELS, GATEWAY_LABELS],
                token_secret=token_secret,
                metrics_namespace=get_metrics_namespace(args),
                ready_seconds=args.ready_seconds,
                gpu=args.gpu,
                datasets=model.datasets,
                pull_secret=args.pull_secret,
            ),
            opts,
        )
        for name, model in args.models.items()
        for version, entry in model.versions.items()
    }
