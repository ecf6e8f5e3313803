"""The cluster that a stack is for, asked before anything is declared for it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from berth.spec import SpecError

# The oldest release whose pods can wait before they end without a shell (lifecycle sleep).
OLDEST = (1, 30)
_SECONDS = 5.0
_POD_METRICS = "custom.metrics.k8s.io"
DEFINITIONS = {
    "gateway-api": (
        "https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.4.0/"
        "standard-install.yaml"
    ),
    "traefik": (
        "https://raw.githubusercontent.com/traefik/traefik/v3.6.0/docs/content/reference/"
        "dynamic-configuration/kubernetes-crd-definition-v1.yml"
    ),
}
"""Where the definitions of the resources are that routes and controller are made of."""
_NEEDED = {
    "gateway.networking.k8s.io": f"the Gateway API: kubectl apply -f {DEFINITIONS['gateway-api']}",
    "traefik.io": f"Traefik's custom resources: kubectl apply -f {DEFINITIONS['traefik']}",
}


@dataclass(frozen=True, kw_only=True)
class ClusterAccess:
    """How a cluster is reached.

    Attributes:
        kubeconfig: path; None for `KUBECONFIG`, then `~/.kube/config`.
        context: None for the current one.
        content: of a kubeconfig, in place of a file.
    """

    kubeconfig: str | None
    context: str | None
    content: Mapping[str, Any] | None = None

    def client(self) -> Any:
        """A client of the cluster's API.

        Raises:
            SpecError: there is no such file or context.
        """
        from kubernetes import client, config
        from kubernetes.config import ConfigException

        where = self.kubeconfig or "KUBECONFIG or ~/.kube/config"
        configuration = client.Configuration()
        configuration.retries = False  # who waits shall know after one timeout, not after four
        try:
            if self.content is not None:
                config.load_kube_config_from_dict(self.content, client_configuration=configuration)
            else:
                config.load_kube_config(
                    self.kubeconfig, self.context, client_configuration=configuration
                )
        except (ConfigException, OSError) as error:
            raise SpecError.of(
                f"berth:kubernetes: {where} does not lead to a cluster: {error}; set "
                "kubernetes.kubeconfig and kubernetes.context, or KUBECONFIG"
            ) from error
        return client.ApiClient(configuration)


@dataclass(frozen=True, kw_only=True)
class ClusterFacts:
    """What is known of a cluster that answers.

    Attributes:
        host: of its API.
        pod_metrics: whether it serves metrics of pods beside processor and memory, which an
            autoscaler can then go by.
    """

    host: str
    pod_metrics: bool


def api_host(access: ClusterAccess) -> str:
    """The host of the cluster's API, whether or not it answers."""
    address = str(access.client().configuration.host)
    return urlsplit(address).hostname or address


def require_cluster(access: ClusterAccess, key: str = "kubernetes") -> ClusterFacts:
    """Hold the cluster against what Berth needs of it.

    Args:
        key: of the specification that names the cluster.

    Raises:
        SpecError: it cannot be reached within seconds, is too old, or lacks a kind of resource.
    """
    client = access.client()
    host = str(client.configuration.host)
    try:
        found = _get(client, "/version")
        groups = {group["name"] for group in _get(client, "/apis")["groups"]}
    except Exception as error:
        raise SpecError.of(
            f"berth:{key}: no answer from the cluster at {host}: {_reason(error)}; is it up, "
            "and is the context right? (kubectl get nodes asks the same)"
        ) from error
    problems = list(_problems(found, groups))
    if problems:
        raise SpecError([f"berth:{key}: the cluster at {host} {text}" for text in problems])
    return ClusterFacts(host=api_host(access), pod_metrics=_POD_METRICS in groups)


def _problems(version: dict[str, str], groups: set[str]) -> Iterator[str]:
    minor = "".join(digit for digit in version["minor"] if digit.isdigit())
    if (int(version["major"]), int(minor)) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        yield f"is Kubernetes {version['major']}.{minor}; {oldest} or newer is needed"
    for group, remedy in _NEEDED.items():
        if group not in groups:
            yield f"has no {group}; install {remedy}"


def _get(client: Any, path: str) -> dict[str, Any]:
    found: dict[str, Any]
    found, _, _ = client.call_api(
        path,
        "GET",
        auth_settings=["BearerToken"],
        response_type="object",
        _request_timeout=_SECONDS,
        _return_http_data_only=False,
    )
    return found


def _reason(error: Exception) -> str:
    """The last cause, on one line: the client wraps what happened several times over."""
    while (cause := error.__cause__ or getattr(error, "reason", None)) and isinstance(
        cause, Exception
    ):
        error = cause
    return " ".join(str(error).split())[:300]


def access_of(kubeconfig: str | None, context: str | None, root: Path) -> ClusterAccess:
    """The access that a specification describes; a relative path is the project's."""
    path = str((root / Path(kubeconfig).expanduser()).resolve()) if kubeconfig else None
    return ClusterAccess(kubeconfig=path, context=context)
