"""The cluster that berths run on, whoever built it."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from berth.spec.errors import Problem, refuse
from berth.spec.section import Section
from berth.spec.text import FilePath, Hostname, KubernetesName, LabelKey, LabelValue, Text

Image = Annotated[
    str,
    Text(
        r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(\/[a-z0-9._-]+)+(:[A-Za-z0-9._-]{1,128})?"
        r"(@sha256:[0-9a-f]{64})?",
        "an image: registry/name, with a tag, a digest or both",
    ),
]
Address = Annotated[
    str,
    Text(
        r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", "a host name or an IPv4 address, no port"
    ),
]


class GpuNodeSpec(Section):
    """How berths with `compute: gpu` find their nodes."""

    node_selector: dict[LabelKey, LabelValue] = Field(default={}, max_length=20)
    """Labels that a node must have."""
    taint: LabelKey = "nvidia.com/gpu"
    """Key of the taint that keeps others off the nodes, and that these berths tolerate."""
    runtime_class: KubernetesName | None = None
    """The RuntimeClass of their pods; the cluster's default when omitted."""


class ServiceSpec(Section):
    """How clients outside the cluster reach the gateway."""

    type: Literal["NodePort", "LoadBalancer", "ClusterIP"] = "NodePort"
    """The kind of Service: a port of every node, an address that the cluster's load balancer
    gives, or none outside the cluster."""
    node_port: int | None = Field(default=None, ge=1024, le=65535)
    """The port of every node; the cluster chooses one when omitted."""
    address: Address | None = None
    """Where clients reach the nodes; the host of the cluster's API when omitted."""

    @model_validator(mode="after")
    def _check(self) -> "ServiceSpec":
        refuse(self._problems())
        return self

    def _problems(self) -> Iterator[Problem]:
        for key, value in (("node_port", self.node_port), ("address", self.address)):
            if value is not None and self.type != "NodePort":
                yield Problem((key,), f"is for type: NodePort; with {self.type} take it out")


class KubernetesSpec(Section):
    """Access to the cluster, and what Berth shall use in it."""

    kubeconfig: FilePath | None = None
    """Path of the kubeconfig file; when omitted, `KUBECONFIG`, then `~/.kube/config`. On aws it
    stands in for the EKS cluster, where AWS is emulated; omit it otherwise."""
    context: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The kubeconfig's context; the current one when omitted."""
    namespace: KubernetesName = "berth"
    """The namespace of the stack; made, and held to Pod Security `restricted`."""
    controller_image: Image = "docker.io/library/traefik:v3.6.0"
    """The controller's image; name one by digest, so that what runs is what was tested."""
    service: ServiceSpec = ServiceSpec()
    """How clients outside the cluster reach the gateway."""
    ready_timeout_seconds: int = Field(default=300, ge=10, le=7200)
    """Seconds that a berth gets to become ready: to have its image pulled, a node found, its
    model loaded. Later the update fails, and what ran before goes on."""
    hostnames: list[Hostname] = Field(default=[], max_length=16)
    """Host names that the routes answer to; any when empty."""
    tls_secret: KubernetesName | None = None
    """The TLS Secret of the namespace that the gateway serves with; plain HTTP when omitted."""
    metrics_namespace: KubernetesName = "monitoring"
    """The namespace whose pods may read the berths' metrics."""
    gpu: GpuNodeSpec = GpuNodeSpec()
    """How berths with `compute: gpu` find their nodes."""
