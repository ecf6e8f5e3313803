"""The arguments of `KubernetesHosting`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from berth_gateway.limits.valkey_address import WhenUnreachable
from pulumi_berth.gateway_clients import BlockingArgs, JwtArgs
from pulumi_berth.hosted_models import ClientArgs, HostedModelArgs, ResourceArgs
from pulumi_berth.images.built_image import ImageSettings
from pulumi_berth.images.third_party import get_image
from pulumi_berth.kubernetes.berth_plan import GpuPlacement
from pulumi_berth.kubernetes.certificate import CertificateArgs
from pulumi_berth.kubernetes.parent_gateway import ParentGatewayArgs
from pulumi_berth.kubernetes.traefik import ServiceType

DEFAULT_CONTROLLER_IMAGE = get_image("traefik")
DEFAULT_METRICS_NAMESPACE = "monitoring"


@dataclass(frozen=True, kw_only=True)
class HostingLimitsArgs:
    """Where the gateway's pods keep the clients' limits together: in a Valkey server."""

    valkey_url: pulumi.Input[str] | None = None
    """URL of an existing server with its password, a secret: `valkey://` or, with TLS,
    `valkeys://`. By default, the component runs a server in the namespace."""
    prefix: str | None = None
    """First part of the keys in an existing server. It must differ between stacks that share the
    server. Defaults to `berth:` and the namespace."""
    when_unreachable: WhenUnreachable | None = None
    """What a gateway does while it cannot reach the server. No request fails. Defaults to
    `own-limits`."""
    storage_class: pulumi.Input[str] | None = None
    """StorageClass of a volume for the data of the component's server. By default, the server keeps
    its data until its pod is deleted. The gateways then restore the quotas."""
    storage_gib: int | None = None
    """Size of the volume, in GiB. Defaults to 1."""


@dataclass(frozen=True, kw_only=True)
class HostingServiceArgs:
    """How clients outside the cluster reach the ingress controller."""

    type: ServiceType | None = None
    """Type of the Service. Defaults to `NodePort`."""
    node_port: int | None = None
    """Node port of the Service. By default, the cluster chooses one."""
    hostnames: Sequence[pulumi.Input[str]] | None = None
    """Host names that the routes match. Defaults to any host name."""
    tls_secret: pulumi.Input[str] | None = None
    """TLS Secret in the namespace that the ingress controller serves with. It then accepts no plain
    HTTP. Defaults to plain HTTP."""
    certificate: CertificateArgs | None = None
    """Certificate for the host names that cert-manager issues, instead of `tls_secret`."""


@dataclass(frozen=True, kw_only=True)
class KubernetesHostingArgs:
    """Arguments for `KubernetesHosting`."""

    namespace: str
    """Namespace, which the component creates and no one else uses."""
    adopt_namespace: bool | None = None
    """If true, the namespace exists already. The component adds only its own objects, and keeps the
    namespace and everything else in it when it is destroyed. Defaults to false."""
    kubeconfig: str | None = None
    """Path of the kubeconfig with which the component checks that no one else uses the namespace,
    before anything is created or deleted. Defaults to `KUBECONFIG` or `~/.kube/config`, unless a
    provider is passed in the options, whose credentials the component cannot read. Then, without
    this argument, a warning states that nothing checks whether the namespace or objects with the
    names of the stack's objects exist already: an update takes them over, and `destroy` deletes
    the namespace with everything in it, unless `adopt_namespace` is true. For a cluster that the
    same program creates, such as one on EKS, nothing else is in it at first."""
    context: str | None = None
    """Context in that kubeconfig. Defaults to its current context."""
    models: Mapping[str, HostedModelArgs]
    """Models by name, as in their model cards."""
    images: ImageSettings
    """Registry that the images are pushed to, and how they are built."""
    trusted_keys: Sequence[str] | None = None
    """Public keys in PEM format. If there are any, the program fails before it declares a resource
    if none of them signed the files of a version, and a version cannot set `image` or `container`.
    Defaults to none: no signature is required."""
    clients: Mapping[str, ClientArgs] | None = None
    """Clients of the gateway by name. Defaults to one client named `default`."""
    jwt: JwtArgs | None = None
    """Issuer of JSON Web Tokens for clients with `subjects`. Defaults to none: clients have API
    keys."""
    blocking: BlockingArgs | None = None
    """When clients that keep exceeding their limits and addresses that guess keys are blocked."""
    limits: HostingLimitsArgs | None = None
    """Where the clients' limits are kept."""
    service: HostingServiceArgs | None = None
    """How clients outside the cluster reach the ingress controller."""
    parent_gateway: ParentGatewayArgs | None = None
    """Existing Gateway of the cluster that receives the requests, instead of an ingress controller
    of the component. Of `service`, only `hostnames` can be set with it."""
    max_body_bytes: int | None = None
    """Maximum size of a request body, in bytes. Defaults to 10 MiB."""
    timeout_seconds: float | None = None
    """Time limit for a berth's response, in seconds. Defaults to 30."""
    body_memory_bytes: int | None = None
    """Memory of a gateway for all request bodies together, in bytes. Defaults to a quarter of its
    container's memory, at most 1 GiB."""
    ready_seconds: int | None = None
    """Time limit for a new replica to become ready, in seconds. Defaults to 300."""
    gateway_image: pulumi.Input[str] | None = None
    """Image of the gateway. By default, the component builds it."""
    valkey_image: pulumi.Input[str] | None = None
    """Image of the Valkey server. By default, the component builds it."""
    controller_image: pulumi.Input[str] | None = None
    """Image of Traefik 3.7 or newer, the ingress controller. Defaults to the pinned image."""
    gateway_replicas: int | None = None
    """Pods of the gateway. Defaults to 2. With one, requests fail while its node drains."""
    gateway_max_replicas: int | None = None
    """Maximum number of pods of the gateway. An autoscaler then maintains a CPU utilization of 70%.
    Defaults to `gateway_replicas`."""
    gateway_resources: ResourceArgs | None = None
    """Resources of each pod of the gateway. Defaults to 50m CPU of at most 1, and 256 MiB."""
    controller_replicas: int | None = None
    """Pods of Traefik. Defaults to 2. With one, requests fail while its node drains."""
    controller_max_replicas: int | None = None
    """Maximum number of pods of Traefik. An autoscaler then maintains a CPU utilization of 70%.
    Defaults to `controller_replicas`."""
    controller_resources: ResourceArgs | None = None
    """Resources of each pod of Traefik. Defaults to 50m CPU of at most 2, and 512 MiB."""
    require_zones: bool | None = None
    """If true, a pod of the gateway or of Traefik waits rather than run in a zone that has more of
    them than another zone. By default, they are spread over zones if possible."""
    pull_secret: pulumi.Input[str] | None = None
    """Secret in the namespace with which the nodes pull images. By default, the nodes can pull
    images without one."""
    metrics_namespace: pulumi.Input[str] | None = None
    """Namespace whose pods may read the metrics. Defaults to `monitoring`."""
    has_prometheus_operator: bool | None = None
    """True if the cluster has the Prometheus operator. The component then creates PodMonitors.
    Defaults to false."""
    monitor_labels: Mapping[str, str] | None = None
    """Additional labels of the PodMonitors and of the PrometheusRule, by which Prometheus selects
    them."""
    monitoring: bool | None = None
    """If true, and if the cluster has the Prometheus operator, the component creates alerting rules
    (a PrometheusRule) and a Grafana dashboard (a ConfigMap with the label `grafana_dashboard`).
    Defaults to false."""
    gpu: GpuPlacement | None = None
    """Placement of berths with GPUs."""
    has_pod_metrics: bool | None = None
    """True if the cluster serves metrics of pods to autoscalers. By default, `target_in_flight` has
    no effect, because an autoscaler that waits for a missing metric never removes replicas."""


def get_metrics_namespace(args: KubernetesHostingArgs) -> pulumi.Input[str]:
    """Return the namespace whose pods may read the metrics."""
    given = args.metrics_namespace
    return DEFAULT_METRICS_NAMESPACE if given is None else given
