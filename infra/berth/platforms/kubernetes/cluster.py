"""Access to a cluster, and the check that it meets Berth's requirements."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from berth.platforms.kubernetes.controller_requirements import find_controller_problems
from berth.spec import HostingSpec, SpecError
from pulumi_berth.images.third_party import get_manifest_url
from pulumi_berth.kubernetes import cluster_access as access
from pulumi_berth.kubernetes.api_groups import CERTIFICATES, GATEWAY_GROUP, MONITORS

# The oldest release with the lifecycle action `sleep`: images without a shell need it.
OLDEST_VERSION = (1, 30)
_POD_METRICS = "custom.metrics.k8s.io"
CRD_SOURCES = {
    "gateway-api": get_manifest_url("gateway-api"),
    "traefik": get_manifest_url("traefik"),
}
"""Custom resource definitions that routes and the ingress controller need."""
_REQUIRED_GROUPS = {
    GATEWAY_GROUP: f"Gateway API: kubectl apply -f {CRD_SOURCES['gateway-api']}",
    "traefik.io": f"Traefik's custom resources: kubectl apply -f {CRD_SOURCES['traefik']}",
}
_OPERATOR = (
    "the Prometheus operator: https://prometheus-operator.dev/docs/getting-started/installation/, "
    "or remove kubernetes.monitoring"
)
_CERT_MANAGER = "cert-manager: https://cert-manager.io/docs/installation, or remove the certificate"


class ClusterAccess(access.ClusterAccess):
    """The access to a cluster that a specification describes."""

    def create_client(self) -> Any:
        """Return a client of the cluster's API.

        Raises:
            SpecError: If the kubeconfig or the context does not exist or is invalid.
        """
        try:
            return super().create_client()
        except access.ClusterAccessError as error:
            source = self.kubeconfig or "KUBECONFIG or ~/.kube/config"
            raise SpecError.of(
                f"berth:kubernetes: no usable cluster in {source}: {error}. Set "
                "kubernetes.kubeconfig and kubernetes.context, or set KUBECONFIG."
            ) from error


@dataclass(frozen=True, kw_only=True)
class ClusterFacts:
    """Properties of a reachable cluster.

    Attributes:
        host: Host of the API.
        has_pod_metrics: Whether the cluster serves metrics of pods other than CPU and memory, so
            that an autoscaler can use them.
        has_prometheus_operator: Whether the cluster has the custom resource PodMonitor.
    """

    host: str
    has_pod_metrics: bool
    has_prometheus_operator: bool


def get_cluster_access(kubeconfig: str | None, context: str | None, root: Path) -> ClusterAccess:
    """Return the access that a specification describes. Relative paths start at the project."""
    path = str((root / Path(kubeconfig).expanduser()).resolve()) if kubeconfig else None
    return ClusterAccess(kubeconfig=path, context=context)


def get_api_host(cluster: ClusterAccess) -> str:
    """Return the host of the cluster's API. The cluster does not need to be reachable."""
    address = str(cluster.create_client().configuration.host)
    return urlsplit(address).hostname or address


def find_required_groups(spec: HostingSpec) -> dict[str, str]:
    """Return the API groups that a stack needs in its cluster, and how to install each."""
    optional = {MONITORS: _OPERATOR} if spec.kubernetes.monitoring else {}
    if spec.kubernetes.parent_gateway is not None:
        return {GATEWAY_GROUP: _REQUIRED_GROUPS[GATEWAY_GROUP]} | optional
    if spec.kubernetes.certificate is not None:
        optional |= {CERTIFICATES: _CERT_MANAGER}
    return _REQUIRED_GROUPS | optional


def require_cluster(
    cluster: ClusterAccess,
    key: str = "kubernetes",
    *,
    groups: Mapping[str, str] = _REQUIRED_GROUPS,
    controller_image: str = "",
) -> ClusterFacts:
    """Check that the cluster meets Berth's requirements.

    Args:
        key: Key of the specification that names the cluster, for error messages.
        controller_image: Image of the ingress controller, whose version has requirements too.
        groups: API groups that the cluster must have, and how to install each.

    Raises:
        SpecError: If the cluster does not respond within seconds, is too old, or lacks custom
            resource definitions.
    """
    client = cluster.create_client()
    host = str(client.configuration.host)
    try:
        version = access.get_json(client, "/version")
        served = {group["name"] for group in access.get_json(client, "/apis")["groups"]}
        controller_problems = list(
            find_controller_problems(
                controller_image, served, lambda path: access.get_json(client, path)
            )
        )
    except Exception as error:
        raise SpecError.of(
            f"berth:{key}: the cluster at {host} did not respond: {_get_root_cause(error)}. "
            "Its resources were not changed. Check that the cluster runs and that the context is "
            "correct, for example with 'kubectl get nodes'."
        ) from error
    problems = [*_find_problems(version, served, groups), *controller_problems]
    if problems:
        raise SpecError([f"berth:{key}: the cluster at {host} {text}" for text in problems])
    return ClusterFacts(
        host=get_api_host(cluster),
        has_pod_metrics=_POD_METRICS in served,
        has_prometheus_operator=MONITORS in served,
    )


def _find_problems(
    version: dict[str, str], served: set[str], groups: Mapping[str, str]
) -> Iterator[str]:
    minor = "".join(digit for digit in version["minor"] if digit.isdigit())
    if (int(version["major"]), int(minor)) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        yield f"runs Kubernetes {version['major']}.{minor}; upgrade it to {oldest} or newer"
    for group, remedy in groups.items():
        if group not in served:
            yield f"has no resources of {group}; install {remedy}"


def _get_root_cause(error: Exception) -> str:
    """Return the innermost error on one line: the client wraps each error several times."""
    while (cause := error.__cause__ or getattr(error, "reason", None)) and isinstance(
        cause, Exception
    ):
        error = cause
    return " ".join(str(error).split())[:300].rstrip(".")
