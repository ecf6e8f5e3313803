"""Tests of the check that a stack's namespace and the objects in it belong to nobody else."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from berth.operations.state_file import read_owner_ids
from pulumi_berth.kubernetes import cluster_access, ownership
from pulumi_berth.kubernetes.cluster_access import ClusterAccess
from pulumi_berth.kubernetes.namespace_claim import find_problems
from pulumi_berth.kubernetes.ownership import (
    Claim,
    ExistingNamespace,
    ExistingObject,
    find_conflicts,
    find_removal_conflicts,
    read_namespace,
)
from pulumi_berth.providers import NamespaceClaimProvider

_OWN_ID, _OTHER_ID = "0123456789ab", "ba9876543210"
_OWN = f"shop/prod/{_OWN_ID}"


def _claim(
    namespace: str = "berth", *, owner_id: str | None = _OWN_ID, adopt: bool = False
) -> Claim:
    return Claim(
        project="shop",
        stack="prod",
        owner_id=owner_id,
        namespace=namespace,
        adopt=adopt,
        names=frozenset({"gateway"}),
    )


def _existing(
    *objects: tuple[str, str, str | None], owner: str | None = None, terminating: bool = False
) -> ExistingNamespace:
    return ExistingNamespace(
        owner=owner,
        is_terminating=terminating,
        objects=tuple(
            ExistingObject(kind=kind, name=name, owner=owner_) for kind, name, owner_ in objects
        ),
    )


@pytest.mark.parametrize(
    ("claim", "existing"),
    [
        (_claim(owner_id=None), None),
        (_claim(), _existing(owner=_OWN)),
        (_claim(), _existing(("Deployment", "gateway", _OWN), owner=_OWN)),
        # Secrets of the user, and objects of others that Berth never touches.
        (_claim(), _existing(("Secret", "tls", None), owner=_OWN)),
        (_claim(owner_id=None, adopt=True), _existing(("Deployment", "web", None))),
        (_claim(adopt=True), _existing(("Service", "gateway", _OWN), owner=_OWN)),
    ],
)
def test_free_and_own_namespaces_are_accepted(
    claim: Claim, existing: ExistingNamespace | None
) -> None:
    assert list(find_conflicts(claim, existing)) == []


@pytest.mark.parametrize(
    ("claim", "existing", "message"),
    [
        (_claim("kube-system"), None, "belongs to the cluster itself"),
        (_claim("kube-system", adopt=True), _existing(), "belongs to the cluster itself"),
        (_claim("default", adopt=True), _existing(), "belongs to the cluster itself"),
        (_claim(), _existing(("Deployment", "web", None)), "contains Deployment 'web'"),
        (_claim(), _existing(), "set adopt_namespace to true"),
        (_claim(), _existing(owner=f"shop/dev/{_OTHER_ID}"), "belongs to stack 'dev' of project"),
        (_claim(adopt=True), _existing(owner=f"shop/dev/{_OTHER_ID}"), "belongs to stack 'dev'"),
        (_claim(), _existing(owner=f"shop/prod/{_OTHER_ID}"), "same stack name"),
        (_claim(owner_id=None), _existing(owner=_OWN), "same stack name"),
        (_claim(), _existing(owner=_OWN, terminating=True), "is being deleted"),
        (_claim(adopt=True), None, "kubectl create namespace berth"),
        (_claim(adopt=True), _existing(("Deployment", "gateway", None)), "would replace"),
        (_claim(), _existing(("Service", "gateway", "a/b/c"), owner=_OWN), "would replace"),
    ],
)
def test_namespaces_of_others_are_refused(
    claim: Claim, existing: ExistingNamespace | None, message: str
) -> None:
    (problem,) = find_conflicts(claim, existing)
    assert message in problem


@pytest.mark.parametrize(
    ("claim", "existing"),
    [
        (_claim(), None),
        (_claim(), _existing(("Deployment", "gateway", _OWN), owner=_OWN)),
        (_claim(), _existing(("Deployment", "web", None), owner=_OWN)),
        (_claim(adopt=True), _existing()),
    ],
)
def test_own_objects_may_be_deleted(claim: Claim, existing: ExistingNamespace | None) -> None:
    assert list(find_removal_conflicts(claim, existing)) == []


@pytest.mark.parametrize(
    ("existing", "message"),
    [
        (_existing(owner=f"shop/dev/{_OTHER_ID}"), "belongs to stack 'dev'"),
        (_existing(owner=f"shop/prod/{_OTHER_ID}"), "same stack name"),
        (_existing(("Service", "gateway", "a/b/c"), owner=_OWN), "would delete"),
        (_existing(("Service", "gateway", None)), "would delete"),
    ],
)
def test_objects_of_others_are_not_deleted(existing: ExistingNamespace, message: str) -> None:
    (problem,) = find_removal_conflicts(_claim(), existing)
    assert message in problem


_INPUTS: dict[str, Any] = {
    "project": "shop", "stack": "prod", "namespace": "berth", "adopt": False, "names": [],
    "has_access": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("PrometheusRule", "/apis/monitoring.coreos.com/v1/namespaces/berth/prometheusrules"),
        ("ConfigMap", "/api/v1/namespaces/berth/configmaps"),
    ],
)
def test_rules_and_dashboard_of_others_are_found(
    monkeypatch: pytest.MonkeyPatch, kind: str, path: str
) -> None:
    own = {"metadata": {"annotations": {ownership.OWNER: _OWN}}}
    monkeypatch.setattr(ownership, "find_object", lambda _client, _path: own)
    monkeypatch.setattr(
        ownership,
        "list_metadata",
        lambda _client, listed: [{"name": "gateway"}] if listed == path else [],
    )
    existing = read_namespace(None, "berth")
    (conflict,) = find_conflicts(_claim(), existing)
    assert f"already contains {kind} 'gateway', which this stack did not create" in conflict
    (conflict,) = find_removal_conflicts(_claim(), existing)
    assert f"contains {kind} 'gateway', which this stack did not create" in conflict


def test_id_is_generated_once_and_kept() -> None:
    provider = NamespaceClaimProvider()
    first = provider.check({}, dict(_INPUTS))
    assert first.failures == []
    assert len(first.inputs["owner_id"]) == 12
    assert first.inputs["owner"] == f"shop/prod/{first.inputs['owner_id']}"
    again = provider.check(first.inputs, dict(_INPUTS))
    assert again.inputs == first.inputs
    other = provider.check({}, dict(_INPUTS))
    assert other.inputs["owner_id"] != first.inputs["owner_id"]
    assert provider.diff("", first.inputs, again.inputs).changes is False


@pytest.mark.parametrize("adopt", [False, True])
def test_change_between_created_and_adopted_is_refused(adopt: bool) -> None:
    olds = {**_INPUTS, "owner_id": _OWN_ID, "adopt": adopt}
    (problem,) = find_problems(olds, {**_INPUTS, "adopt": not adopt})
    assert "must stay" in problem


def test_path_of_the_kubeconfig_is_no_change() -> None:
    provider = NamespaceClaimProvider()
    olds = provider.check({}, dict(_INPUTS)).inputs
    news = provider.check(olds, {**_INPUTS, "kubeconfig": "/elsewhere/kubeconfig"}).inputs
    assert provider.diff("", olds, news).changes is False
    assert provider.diff("", olds, {**news, "namespace": "other"}).changes is True


class _Api(BaseHTTPRequestHandler):
    """An API server with the namespace `team`, in which `web` runs."""

    def do_GET(self) -> None:
        lists: dict[str, list[dict[str, Any]]] = {
            "/apis/apps/v1/namespaces/team/deployments": [{"name": "web"}],
            "/api/v1/namespaces/team/pods": [{"name": "web-1", "ownerReferences": [{"uid": "1"}]}],
            "/api/v1/namespaces/team/serviceaccounts": [{"name": "default"}],
            "/api/v1/namespaces/team/configmaps": [{"name": "kube-root-ca.crt"}],
        }
        content: dict[str, Any] | None = None
        if self.path == "/api/v1/namespaces/team":
            content = {"metadata": {"name": "team", "annotations": {"berth/owner": _OWN}}}
        elif self.path in lists:
            content = {"items": [{"metadata": entry} for entry in lists[self.path]]}
        elif self.path.endswith("/secrets"):
            self.send_error(403)
            return
        body = json.dumps(content or {}).encode()
        self.send_response(404 if content is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _build_kubeconfig(port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }  # fmt: skip


@pytest.fixture
def access() -> Iterator[ClusterAccess]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    content = _build_kubeconfig(server.server_port)
    yield ClusterAccess(kubeconfig=None, context=None, content=content)
    server.shutdown()
    server.server_close()
    thread.join()


def test_busy_api_is_asked_again(access: ClusterAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_access, "_RETRY_INTERVAL_SECONDS", 0.0)
    answer = _Api.do_GET
    busy = [429, 503]

    def do_get(handler: _Api) -> None:
        if busy:
            handler.send_error(busy.pop())
        else:
            answer(handler)

    monkeypatch.setattr(_Api, "do_GET", do_get)
    assert read_namespace(access.create_client(), "team") is not None
    assert not busy


def test_objects_that_kubernetes_creates_or_hides_are_left_out(access: ClusterAccess) -> None:
    namespace = read_namespace(access.create_client(), "team")
    assert namespace == _existing(("Deployment", "web", None), owner=_OWN)
    assert read_namespace(access.create_client(), "missing") is None


@pytest.mark.parametrize("status", [500, 429])
def test_unknown_owner_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(cluster_access, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(cluster_access, "_RETRY_INTERVAL_SECONDS", 0.0)

    class Failing(_Api):
        def do_GET(self) -> None:
            self.send_error(status)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Failing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        (problem,) = _find_problems_of_cluster(tmp_path, server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert "Could not check" in problem


def test_unreachable_cluster_is_left_to_its_own_check(tmp_path: Path) -> None:
    # A socket that does not listen keeps its port from other programs.
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert _find_problems_of_cluster(tmp_path, unused.getsockname()[1]) == []


def _find_problems_of_cluster(directory: Path, port: int) -> list[str]:
    path = directory / "kubeconfig"
    path.write_text(json.dumps(_build_kubeconfig(port)))
    return list(find_problems({}, {**_INPUTS, "has_access": True, "kubeconfig": str(path)}))


def _write_project(root: Path, resources: list[dict[str, Any]] | None) -> None:
    (root / "Pulumi.yaml").write_text("name: shop\n")
    directory = root / ".berth" / "state" / ".pulumi" / "stacks" / "shop"
    directory.mkdir(parents=True)
    if resources is not None:
        content = {"checkpoint": {"latest": {"resources": resources}}}
        (directory / "prod.json").write_text(json.dumps(content))


def test_id_is_read_from_the_state_of_a_local_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    kind = "pulumi-python:dynamic/berth:NamespaceClaim"
    urn = f"urn:pulumi:prod::shop::berth:kubernetes:HostingNamespace${kind}::namespace-claim"
    entry = {"urn": urn, "type": kind, "outputs": {"owner_id": _OWN_ID}}
    _write_project(tmp_path, [{"urn": "x", "type": "y", "outputs": {}}, entry])
    assert read_owner_ids(tmp_path, "prod") == {"namespace-claim": _OWN_ID}
    assert read_owner_ids(tmp_path, "never-deployed") == {}


def test_id_in_a_remote_state_is_left_to_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://state")
    _write_project(tmp_path, None)
    assert read_owner_ids(tmp_path, "prod") is None
