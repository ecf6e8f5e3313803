"""Access to a cluster, and the check that it meets Berth's requirements."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from berth.platforms.kubernetes.controller_requirements import find_controller_problems
from berth.spec import SpecError
from pulumi_berth.images.third_party import get_manifest_url

# The oldest release with the lifecycle action `sleep`: images without a shell need it.
OLDEST_VERSION = (1, 30)
_TIMEOUT_SECONDS = 5.0
_POD_METRICS = "custom.metrics.k8s.io"
CRD_SOURCES = {
    "gateway-api": get_manifest_url("gateway-api"),
    "traefik": get_manifest_url("traefik"),
}
"""Custom resource definitions that routes and the ingress controller need."""
_REQUIRED_GROUPS = {
    "gateway.networking.k8s.io": f"Gateway API: kubectl apply -f {CRD_SOURCES['gateway-api']}",
    "traefik.io": f"Traefik's custom resources: kubectl apply -f {CRD_SOURCES['traefik']}",
}


@dataclass(frozen=True, kw_only=True)
class ClusterAccess:
    """The kubeconfig and context that lead to a cluster.

    Attributes:
        kubeconfig: Path of the kubeconfig. If None, `KUBECONFIG` or `~/.kube/config` is used.
        context: Context in the kubeconfig. If None, the current context is used.
        content: Content of a kubeconfig, instead of a file.
    """

    kubeconfig: str | None
    context: str | None
    content: Mapping[str, Any] | None = None

    def create_client(self) -> Any:
        """Return a client of the cluster's API.

        Raises:
            SpecError: If the kubeconfig or the context does not exist or is invalid.
        """
        from kubernetes import client, config
        from kubernetes.config import ConfigException

        configuration = client.Configuration()
        configuration.retries = False  # Fail after one timeout instead of four.
        try:
            if self.content is not None:
                config.load_kube_config_from_dict(self.content, client_configuration=configuration)
            else:
                config.load_kube_config(
                    self.kubeconfig, self.context, client_configuration=configuration
                )
        except (ConfigException, OSError) as error:
            source = self.kubeconfig or "KUBECONFIG or ~/.kube/config"
            raise SpecError.of(
                f"berth:kubernetes: no usable cluster in {source}: {error}. Set "
                "kubernetes.kubeconfig and kubernetes.context, or set KUBECONFIG."
            ) from error
        return client.ApiClient(configuration)


@dataclass(frozen=True, kw_only=True)
class ClusterFacts:
    """Properties of a reachable cluster.

    Attributes:
        host: Host of the API.
        has_pod_metrics: Whether the cluster serves metrics of pods other than CPU and memory, so
            that an autoscaler can use them.
    """

    host: str
    has_pod_metrics: bool


def get_cluster_access(kubeconfig: str | None, context: str | None, root: Path) -> ClusterAccess:
    """Return the access that a specification describes. Relative paths start at the project."""
    path = str((root / Path(kubeconfig).expanduser()).resolve()) if kubeconfig else None
    return ClusterAccess(kubeconfig=path, context=context)


def get_api_host(access: ClusterAccess) -> str:
    """Return the host of the cluster's API. The cluster does not need to be reachable."""
    address = str(access.create_client().configuration.host)
    return urlsplit(address).hostname or address


def require_cluster(
    access: ClusterAccess, key: str = "kubernetes", *, controller_image: str = ""
) -> ClusterFacts:
    """Check that the cluster meets Berth's requirements.

    Args:
        key: Key of the specification that names the cluster, for error messages.
        controller_image: Image of the ingress controller, whose version has requirements too.

    Raises:
        SpecError: If the cluster does not respond within seconds, is too old, or lacks custom
            resource definitions.
    """
    client = access.create_client()
    host = str(client.configuration.host)
    try:
        version = _get(client, "/version")
        groups = {group["name"] for group in _get(client, "/apis")["groups"]}
        controller_problems = list(
            find_controller_problems(controller_image, groups, lambda path: _get(client, path))
        )
    except Exception as error:
        raise SpecError.of(
            f"berth:{key}: the cluster at {host} did not respond: {_get_root_cause(error)}. "
            "Its resources were not changed. Check that the cluster runs and that the context is "
            "correct, for example with 'kubectl get nodes'."
        ) from error
    problems = [*_find_problems(version, groups), *controller_problems]
    if problems:
        raise SpecError([f"berth:{key}: the cluster at {host} {text}" for text in problems])
    return ClusterFacts(host=get_api_host(access), has_pod_metrics=_POD_METRICS in groups)


def _find_problems(version: dict[str, str], groups: set[str]) -> Iterator[str]:
    minor = "".join(digit for digit in version["minor"] if digit.isdigit())
    if (int(version["major"]), int(minor)) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        yield f"runs Kubernetes {version['major']}.{minor}; upgrade it to {oldest} or newer"
    for group, remedy in _REQUIRED_GROUPS.items():
        if group not in groups:
            yield f"has no resources of {group}; install {remedy}"


def _get(client: Any, path: str) -> dict[str, Any]:
    content: dict[str, Any]
    content, _, _ = client.call_api(
        path,
        "GET",
        auth_settings=["BearerToken"],
        response_type="object",
        _request_timeout=_TIMEOUT_SECONDS,
        _return_http_data_only=False,
    )
    return content


def _get_root_cause(error: Exception) -> str:
    """Return the innermost error on one line: the client wraps each error several times."""
    while (cause := error.__cause__ or getattr(error, "reason", None)) and isinstance(
        cause, Exception
    ):
        error = cause
    return " ".join(str(error).split())[:300].rstrip(".")
