"""Tests of the deletion of a stack's namespace: only if nothing of someone else is in it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pulumi_berth.kubernetes import namespace_claim, namespace_removal
from pulumi_berth.kubernetes.cluster_access import ClusterAccess
from pulumi_berth.kubernetes.namespace_removal import (
    NamespaceRemovalError,
    remove_namespace,
    require_removable,
)
from pulumi_berth.kubernetes.ownership import Claim
from pulumi_berth.providers import NamespaceClaimProvider, NamespaceGuardProvider

_ID = "0123456789ab"
_OWN = f"shop/prod/{_ID}"
_CLAIM = Claim(
    project="shop", stack="prod", owner_id=_ID, namespace="berth", adopt=False,
    names=frozenset({"gateway"}),
)  # fmt: skip
_CORE = ("configmaps", "secrets", "pods", "persistentvolumeclaims", "endpoints")
_KINDS = {
    "configmaps": "ConfigMap", "secrets": "Secret", "pods": "Pod", "endpoints": "Endpoints",
    "persistentvolumeclaims": "PersistentVolumeClaim", "recipes": "Recipe",
}  # fmt: skip
# What is left of a stack after its objects were deleted, and what Kubernetes creates.
_NOT_OTHERS: dict[str, list[dict[str, Any]]] = {
    "configmaps": [
        {"name": "kube-root-ca.crt"},
        {"name": "gateway", "annotations": {"berth/owner": _OWN}},
    ],
    "secrets": [
        {"name": "berth-tls", "annotations": {"cert-manager.io/certificate-name": "berth-tls"}}
    ],
    "persistentvolumeclaims": [
        {"name": "data-valkey-0", "labels": {"app.kubernetes.io/part-of": "berth"}}
    ],
    "pods": [
        {
            "name": "gateway-x",
            "ownerReferences": [{"apiVersion": "example.com/v1", "kind": "Recipe", "uid": "1"}],
        }
    ],
    "endpoints": [{"name": "gateway"}],
}  # fmt: skip


class _Api:
    """An API server with the namespace `berth`, whose content the test decides."""

    def __init__(self) -> None:
        self.objects = {key: list(value) for key, value in _NOT_OTHERS.items()}
        self.owner: str | None = _OWN
        self.exists = True
        self.is_stuck = False
        self.forbidden: set[str] = set()
        self.changes: list[tuple[str, Any]] = []

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        path = path.partition("?")[0]
        if path == "/api/v1/namespaces/berth":
            return self._answer_namespace(method, body)
        if path in ("/api", "/apis"):
            return 200, {"items": self._discover(path)}
        resource = path.rpartition("/")[2]
        if resource in self.forbidden:
            return 403, {}
        found = self.objects.get(resource)
        return 200, {"items": [{"metadata": entry} for entry in found or []]}

    def _answer_namespace(self, method: str, body: Any) -> tuple[int, Any]:
        if not self.exists:
            return 404, {}
        if method != "GET":
            self.changes.append((method, body))
            self.exists = method != "DELETE" or self.is_stuck
        annotations = {} if self.owner is None else {"berth/owner": self.owner}
        conditions = [{"status": "True", "message": "Some content has finalizers remaining"}]
        return 200, {
            "metadata": {"name": "berth", "uid": "u", "annotations": annotations},
            "status": {"conditions": conditions if self.is_stuck else []},
        }

    @staticmethod
    def _discover(path: str) -> list[dict[str, Any]]:
        group, names = ("", _CORE) if path == "/api" else ("example.com", ("recipes",))
        resources = [
            {
                "resource": name, "responseKind": {"kind": _KINDS[name]}, "scope": "Namespaced",
                "verbs": ["delete", "get", "list"],
            }
            for name in names
        ]  # fmt: skip
        # Neither can be deleted with the namespace.
        resources += [
            {**resources[0], "resource": "metrics", "verbs": ["list"]},
            {**resources[0], "resource": "nodes", "scope": "Cluster"},
        ]
        return [
            {"metadata": {"name": group}, "versions": [{"version": "v1", "resources": resources}]}
        ]


@pytest.fixture
def api() -> _Api:
    return _Api()


@pytest.fixture
def access(api: _Api) -> Iterator[ClusterAccess]:
    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, content = api.answer(self.command, self.path, body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_DELETE = do_PATCH = _handle  # noqa: N815 - the names of the base class

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [
            {"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        ],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }  # fmt: skip
    yield ClusterAccess(kubeconfig=None, context=None, content=content)
    server.shutdown()
    server.server_close()
    thread.join()


def test_namespace_without_objects_of_others_is_deleted(api: _Api, access: ClusterAccess) -> None:
    assert remove_namespace(_CLAIM, access) is None
    assert api.changes == [("DELETE", {"preconditions": {"uid": "u"}})]
    assert remove_namespace(_CLAIM, access) is None  # It no longer exists.


@pytest.mark.parametrize(
    ("resource", "metadata", "text"),
    [
        ("configmaps", {"name": "prices"}, "ConfigMap 'prices'"),
        ("configmaps", {"name": "x", "annotations": {"berth/owner": "a/b/c"}}, "ConfigMap 'x'"),
        ("secrets", {"name": "berth-tls"}, "Secret 'berth-tls'"),
        ("persistentvolumeclaims", {"name": "data"}, "PersistentVolumeClaim 'data'"),
        ("recipes", {"name": "cake"}, "Recipe 'cake'"),
        (
            "pods",
            {
                "name": "of-a-cluster-scoped-object",
                "ownerReferences": [{"apiVersion": "example.com/v1", "kind": "Kitchen"}],
            },
            "Pod 'of-a-cluster-scoped-object'",
        ),
    ],
)
def test_namespace_with_an_object_of_someone_else_is_kept(
    api: _Api, access: ClusterAccess, resource: str, metadata: dict[str, Any], text: str
) -> None:
    api.objects.setdefault(resource, []).append(metadata)
    kept = remove_namespace(_CLAIM, access)
    assert kept is not None
    assert f"contains {text}, which this stack did not create" in kept
    assert "kubectl delete namespace berth" in kept
    assert api.changes == [("PATCH", {"metadata": {"annotations": {"berth/owner": None}}})]


@pytest.mark.parametrize("owner", [None, "shop/prod/ba9876543210"])
def test_namespace_of_someone_else_is_kept(
    api: _Api, access: ClusterAccess, owner: str | None
) -> None:
    api.owner = owner
    assert "no longer belongs to this stack" in (remove_namespace(_CLAIM, access) or "")
    assert api.changes == []


def test_objects_that_cannot_be_listed_stop_the_deletion(api: _Api, access: ClusterAccess) -> None:
    api.forbidden = {"secrets"}
    with pytest.raises(NamespaceRemovalError, match="Could not check what is in"):
        remove_namespace(_CLAIM, access)
    assert api.changes == []


def test_namespace_that_does_not_end_is_an_error_with_the_reason(
    api: _Api, access: ClusterAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespace_removal, "_GONE_SECONDS", 0.0)
    api.is_stuck = True
    with pytest.raises(NamespaceRemovalError, match="Some content has finalizers remaining"):
        remove_namespace(_CLAIM, access)


def test_unreachable_cluster_is_an_error_unless_it_no_longer_exists(
    access: ClusterAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert access.content is not None
    (cluster,) = access.content["clusters"]
    cluster["cluster"]["server"] = "http://127.0.0.1:1"  # Port 1 of this machine is not in use.
    with pytest.raises(NamespaceRemovalError, match="PULUMI_K8S_DELETE_UNREACHABLE"):
        remove_namespace(_CLAIM, access)
    require_removable(_CLAIM, access)  # The Kubernetes provider reports it.
    monkeypatch.setenv("PULUMI_K8S_DELETE_UNREACHABLE", "true")
    assert "cannot be reached" in (remove_namespace(_CLAIM, access) or "")


def test_objects_are_not_deleted_after_someone_else_took_over(
    api: _Api, access: ClusterAccess
) -> None:
    require_removable(_CLAIM, access)
    api.owner = "shop/prod/ba9876543210"
    with pytest.raises(NamespaceRemovalError, match="Nothing of the namespace was deleted"):
        require_removable(_CLAIM, access)
    api.owner = _OWN
    api.objects["configmaps"] = [{"name": "gateway"}]
    with pytest.raises(NamespaceRemovalError, match="ConfigMap 'gateway', which this stack did"):
        require_removable(_CLAIM, access)


_PROPS: dict[str, Any] = {
    "project": "shop", "stack": "prod", "namespace": "berth", "adopt": False, "names": ["gateway"],
    "has_access": True, "kubeconfig": "/nowhere/kubeconfig", "context": None, "owner_id": _ID,
}  # fmt: skip


@pytest.mark.parametrize("change", [{"adopt": True}, {"has_access": False}])
def test_claim_deletes_no_namespace_that_the_kubernetes_provider_handles(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(namespace_removal, "remove_namespace")
    NamespaceClaimProvider().delete(_ID, _PROPS | change)


def test_missing_kubeconfig_stops_the_deletion() -> None:
    for provider in (NamespaceClaimProvider(), NamespaceGuardProvider()):
        with pytest.raises(NamespaceRemovalError, match="/nowhere/kubeconfig"):
            provider.delete(_ID, _PROPS)


def test_other_namespace_replaces_claim_and_guard() -> None:
    for provider in (NamespaceClaimProvider(), NamespaceGuardProvider()):
        difference = provider.diff(_ID, _PROPS, _PROPS | {"namespace": "other"})
        assert (difference.changes, difference.replaces) == (True, ["namespace"])


def test_kubeconfig_is_updated_where_the_recorded_path_does_not_exist() -> None:
    news = _PROPS | {"kubeconfig": "/elsewhere/kubeconfig"}
    assert namespace_claim.find_changes(_PROPS, news) == ["kubeconfig"]
    existing = _PROPS | {"kubeconfig": __file__}
    assert namespace_claim.find_changes(existing, news) == []
