"""The cluster that berths run on, whoever built it."""

from typing import Annotated, Literal

from pydantic import Field

from infra.spec.section import Section
from infra.spec.text import FilePath, Hostname, KubernetesName, LabelKey, LabelValue


class GpuNodeSpec(Section):
    """How berths with `compute: gpu` find their nodes."""

    node_selector: dict[LabelKey, LabelValue] = Field(default={}, max_length=20)
    """Labels that a node must have."""
    taint: LabelKey = "nvidia.com/gpu"
    """Key of the taint that keeps others off the nodes, and that these berths tolerate."""
    runtime_class: KubernetesName | None = None
    """The RuntimeClass of their pods; the cluster's default when omitted."""


class KubernetesSpec(Section):
    """Access to the cluster, and what Berth shall use in it."""

    kubeconfig: FilePath | None = None
    """Path of the kubeconfig file; when omitted, `KUBECONFIG`, then `~/.kube/config`. On aws it
    stands in for the EKS cluster, where AWS is emulated; omit it otherwise."""
    context: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The kubeconfig's context; the current one when omitted."""
    namespace: KubernetesName = "berth"
    """The namespace of the stack; made, and held to Pod Security `restricted`."""
    controller: Literal["traefik"] = "traefik"
    """The Gateway API controller of the cluster."""
    hostnames: list[Hostname] = Field(default=[], max_length=16)
    """Host names that the routes answer to; any when empty."""
    tls_secret: KubernetesName | None = None
    """The TLS Secret of the namespace that the gateway serves with; plain HTTP when omitted."""
    metrics_namespace: KubernetesName = "monitoring"
    """The namespace whose pods may read the berths' metrics."""
    gpu: GpuNodeSpec = GpuNodeSpec()
    """How berths with `compute: gpu` find their nodes."""
