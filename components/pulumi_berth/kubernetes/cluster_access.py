"""Access to a cluster's API from Python: the kubeconfig, and requests that read objects."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

TIMEOUT_SECONDS = 5.0
_JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Accept header for lists of objects without their content, which may be large or secret."""
# https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery
_DISCOVERY = "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io"
_PAGE, _MAX_PAGES = 500, 20
_FORBIDDEN, _NOT_FOUND = 403, 404
# The API server returns 429 while it starts to store a new custom resource, and when it is busy.
_BUSY = (429, 503)
_RETRY_SECONDS, _RETRY_INTERVAL_SECONDS = 10.0, 0.5


UNREACHABLE = (NewConnectionError, ConnectTimeoutError)
"""Errors of a cluster whose API cannot be reached at all."""


class ClusterAccessError(ValueError):
    """The kubeconfig or the context does not exist or is invalid. The message is the reason."""


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
            ClusterAccessError: If the kubeconfig or the context does not exist or is invalid.
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
            raise ClusterAccessError(str(error)) from error
        return client.ApiClient(configuration)


def get_json(client: Any, path: str, *, accept: str = _JSON) -> dict[str, Any]:
    """Return the JSON at a path of the cluster's API."""
    return _call(client, "GET", path, headers={"Accept": accept})


def send_json(client: Any, method: str, path: str, body: Mapping[str, Any]) -> None:
    """Send a request that changes an object. A patch is a merge patch (RFC 7386)."""
    content_type = "application/merge-patch+json" if method == "PATCH" else _JSON
    _call(client, method, path, headers={"Accept": _JSON, "Content-Type": content_type}, body=body)


def replace_object(
    client: Any, path: str, body: Mapping[str, Any], *, manager: str, is_dry_run: bool = False
) -> dict[str, Any]:
    """Replace an object, and return it as the API server stores it, with all defaults.

    Args:
        body: The object. Its resource version prevents that a newer one is overwritten.
        manager: The field manager that the object names as its writer.
        is_dry_run: Whether nothing is stored.
    """
    query = [("fieldManager", manager), *([("dryRun", "All")] if is_dry_run else [])]
    headers = {"Accept": _JSON, "Content-Type": _JSON}
    return _call(client, "PUT", path, headers=headers, body=body, query=query)


def apply_object(client: Any, path: str, body: Mapping[str, Any], *, manager: str) -> None:
    """Apply an object with server-side apply, as the field manager that already applied it.

    https://kubernetes.io/docs/reference/using-api/server-side-apply/

    Args:
        body: All fields that the manager declares. With a `uid`, the object must exist.
    """
    headers = {"Accept": _JSON, "Content-Type": "application/apply-patch+yaml"}
    query = [("fieldManager", manager), ("force", "true")]
    _call(client, "PATCH", path, headers=headers, body=body, query=query)


def _call(
    client: Any,
    method: str,
    path: str,
    *,
    headers: dict[str, str],
    body: Mapping[str, Any] | None = None,
    query: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    content: dict[str, Any] = client.call_api(
        path,
        method,
        query_params=list(query),
        header_params=headers,
        body=None if body is None else dict(body),
        auth_settings=["BearerToken"],
        response_type="object",
        _request_timeout=TIMEOUT_SECONDS,
        _return_http_data_only=True,
    )
    return content


def list_every_kind(client: Any, namespace: str) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Yield API group, kind and the metadata of the objects, for each kind in the namespace.

    Kinds that cannot be deleted, such as metrics, are left out. Unlike `list_metadata`, a list
    that the caller may not read is an error: what is unknown may be there.
    """
    for root in ("/api", "/apis"):
        for item in get_json(client, root, accept=_DISCOVERY)["items"]:
            group = item["metadata"].get("name", "")
            for resource, kind, version in _list_resources(item):
                prefix = f"/apis/{group}" if group else "/api"
                path = f"{prefix}/{version}/namespaces/{namespace}/{resource}"
                yield group, kind, _list_pages(client, path)


def _list_resources(group: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield name, kind and version of each resource of an API group. Its first version is the
    preferred one, and a resource may exist only in others."""
    known = set()
    for version in group.get("versions") or ():
        for resource in version.get("resources") or ():
            name = resource["resource"]
            if (
                resource["scope"] == "Namespaced"
                and {"list", "delete"} <= {*resource.get("verbs", ())}
                and name not in known
            ):
                known.add(name)
                yield name, resource["responseKind"]["kind"], version["version"]


def _list_pages(client: Any, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    following = ""
    for _ in range(_MAX_PAGES):
        url = f"{path}?limit={_PAGE}" + (f"&continue={following}" if following else "")
        content = get_json(client, url, accept=METADATA)
        items += [item["metadata"] for item in content.get("items") or ()]
        following = (content.get("metadata") or {}).get("continue", "")
        if not following:
            return items
    raise ValueError(f"{path} has more than {_PAGE * _MAX_PAGES} objects")


def find_object(client: Any, path: str) -> dict[str, Any] | None:
    """Return the object at a path, or None if it does not exist or may not be read."""
    return _read_permitted(client, path, _JSON)


def list_metadata(client: Any, path: str) -> list[dict[str, Any]]:
    """Return the metadata of the objects at a path: none if the caller may not list them."""
    content = _read_permitted(client, path, METADATA) or {}
    return [item["metadata"] for item in content.get("items") or ()]


def _read_permitted(client: Any, path: str, accept: str) -> dict[str, Any] | None:
    from kubernetes.client import ApiException

    deadline = time.monotonic() + _RETRY_SECONDS
    while True:
        try:
            return get_json(client, path, accept=accept)
        except ApiException as error:
            if error.status in (_FORBIDDEN, _NOT_FOUND):
                return None
            if error.status not in _BUSY or time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_INTERVAL_SECONDS)
