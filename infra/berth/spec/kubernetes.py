"""The Kubernetes cluster that berths run on, and how Berth uses it."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from berth.spec.errors import Problem, raise_problems
from berth.spec.fields import (
    FilePath,
    Hostname,
    KubernetesName,
    LabelKey,
    LabelValue,
    Namespace,
    PodResourceSpec,
    Section,
    Text,
)
from berth.spec.parent_gateway import ParentGatewaySpec
from pulumi_berth.images.third_party import get_image

Image = Annotated[
    str,
    Text(
        r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(\/[a-z0-9._-]+)+(:[A-Za-z0-9._-]{1,128})?"
        r"(@sha256:[0-9a-f]{64})?",
        "an image: registry/name with a tag, a digest or both",
    ),
]
Address = Annotated[
    str,
    Text(
        r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?",
        "a host name or an IPv4 address without a port",
    ),
]


_CONTROLLER_KEYS = {
    *("controller_image", "controller_replicas", "controller_max_replicas"),
    *("controller_resources", "service", "tls_secret", "certificate"),
}
"""Keys of the stack's own ingress controller."""


class GpuNodeSpec(Section):
    """Scheduling of berths with `compute: gpu`."""

    node_selector: dict[LabelKey, LabelValue] = Field(default={}, max_length=20)
    """Labels that a node must have."""
    taint: LabelKey = "nvidia.com/gpu"
    """Key of the taint that keeps other Pods off these nodes. The berths tolerate it."""
    runtime_class: KubernetesName | None = None
    """RuntimeClass of the Pods. Defaults to the cluster's default."""
    surge: bool = False
    """If true, an update starts a new Pod before it terminates an old one, which requires free GPUs
    or nodes that the cluster adds. Otherwise it terminates one Pod first, so that an update also
    works where all GPUs are in use. A single replica is then unavailable until the new Pod is
    ready."""


class ServiceSpec(Section):
    """The Service through which clients outside the cluster reach the gateway."""

    type: Literal["NodePort", "LoadBalancer", "ClusterIP"] = "NodePort"
    """Service type: NodePort opens a port on every node, LoadBalancer uses the cluster's load
    balancer, ClusterIP is not reachable from outside the cluster."""
    node_port: int | None = Field(default=None, ge=1024, le=65535)
    """Port on every node. By default, the cluster chooses one."""
    address: Address | None = None
    """Address at which clients reach the nodes. Defaults to the host of the cluster's API."""

    @model_validator(mode="after")
    def _check(self) -> "ServiceSpec":
        raise_problems(self._problems())
        return self

    def _problems(self) -> Iterator[Problem]:
        for key, value in (("node_port", self.node_port), ("address", self.address)):
            if value is not None and self.type != "NodePort":
                yield Problem(
                    (key,), f"requires type: NodePort, not {self.type}; remove it or change type"
                )


class CertificateSpec(Section):
    """A certificate that cert-manager issues and renews."""

    issuer: KubernetesName
    """Name of the issuer."""
    kind: Literal["Issuer", "ClusterIssuer"] = "ClusterIssuer"
    """Kind of the issuer. An Issuer is in the stack's namespace."""


class KubernetesSpec(Section):
    """Access to the cluster, and the resources that Berth uses in it."""

    kubeconfig: FilePath | None = None
    """Path of the kubeconfig file. Defaults to `KUBECONFIG`, then to `~/.kube/config`. On aws, set
    it only if AWS is emulated: it then replaces the EKS cluster."""
    context: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Context in the kubeconfig file. Defaults to its current context."""
    namespace: Namespace = "berth"
    """Namespace of the stack, which no one else uses. Berth creates it and enforces Pod Security
    `restricted` in it. `destroy` deletes it, unless it contains an object that the stack did not
    create."""
    adopt_namespace: bool = False
    """If true, the namespace exists already, for example because it contains a Secret that the Pods
    need. Berth adds only its own objects, and `destroy` keeps the namespace and everything else in
    it. It cannot change while the stack is deployed."""
    controller_image: Image = get_image("traefik")
    """Image of Traefik, the ingress controller that the stack runs. Specify a digest to run exactly
    the image that you tested. Traefik 3.7 needs the Gateway API 1.5 in the cluster."""
    controller_replicas: int = Field(default=2, ge=1, le=100)
    """Pods of Traefik. With one, requests fail while its node drains."""
    controller_max_replicas: int | None = Field(default=None, ge=1, le=100)
    """Maximum number of Pods of Traefik. An autoscaler then maintains a CPU utilization of 70%. Not
    less than `controller_replicas`, which is the default."""
    controller_resources: PodResourceSpec = Field(default_factory=PodResourceSpec)
    """Resources of each Pod of Traefik. Defaults to 50m CPU of at most 2, and 512Mi memory."""
    zone_spread: Literal["preferred", "required"] = "preferred"
    """Spread of the gateway's and Traefik's Pods over the zones of the cluster: if possible, or so
    that a Pod waits rather than run in a zone that has more of them."""
    parent_gateway: ParentGatewaySpec | None = None
    """Existing Gateway of the cluster that receives the requests, instead of a Traefik of the
    stack. By default, the stack runs Traefik."""
    service: ServiceSpec = Field(default_factory=ServiceSpec)
    """The Service through which clients outside the cluster reach the gateway."""
    ready_timeout_seconds: int = Field(default=300, ge=10, le=7200)
    """Time limit for a new replica to become ready, in seconds: pull its image, find a node and
    load its model. Afterwards the update fails, and the previous replicas keep serving."""
    hostnames: list[Hostname] = Field(default=[], max_length=16)
    """Host names that the routes match. Defaults to any host name."""
    tls_secret: KubernetesName | None = None
    """TLS Secret in the namespace that the gateway serves with. It then accepts no plain HTTP.
    Defaults to plain HTTP."""
    certificate: CertificateSpec | None = None
    """Certificate for `hostnames` that cert-manager issues, instead of `tls_secret`."""
    metrics_namespace: KubernetesName = "monitoring"
    """Namespace whose Pods may read the metrics of the berths."""
    monitor_labels: dict[LabelKey, LabelValue] = Field(default={}, max_length=20)
    """Labels of the PodMonitors, by which Prometheus selects them, such as `release: prometheus`.
    Berth creates PodMonitors if the cluster has the Prometheus operator."""
    monitoring: bool = False
    """If true, Berth creates alerting rules (a PrometheusRule with `monitor_labels`) and a Grafana
    dashboard (a ConfigMap with the label `grafana_dashboard`). The cluster must have the Prometheus
    operator. Not available on aws, where CloudWatch has alarms and dashboards. Edge sites have
    neither."""
    gpu: GpuNodeSpec = Field(default_factory=GpuNodeSpec)
    """Scheduling of berths with `compute: gpu`."""

    @model_validator(mode="after")
    def _check(self) -> "KubernetesSpec":
        raise_problems(self._problems())
        return self

    def _problems(self) -> Iterator[Problem]:
        if self.parent_gateway is not None:
            for key in sorted(self.model_fields_set & _CONTROLLER_KEYS):
                yield Problem(
                    (key,),
                    "applies to the stack's own Traefik, which does not run with parent_gateway; "
                    "remove it",
                    False,
                )
        if (
            self.controller_max_replicas is not None
            and self.controller_max_replicas < self.controller_replicas
        ):
            yield Problem(
                ("controller_max_replicas",),
                f"is less than controller_replicas ({self.controller_replicas}); raise it or lower "
                "controller_replicas",
            )
        if self.certificate is not None:
            if self.tls_secret is not None:
                yield Problem(
                    ("certificate",), "cannot be combined with tls_secret; remove one", False
                )
            if not self.hostnames:
                yield Problem(
                    ("certificate",), "requires hostnames; list the names that it is for", False
                )
