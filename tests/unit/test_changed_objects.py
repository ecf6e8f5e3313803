"""Drift of Kubernetes objects: the state compared with what the cluster's API returns."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client import ApiException

from berth.errors import OperationError
from berth.platforms.aws.platform import PLATFORM as AWS
from berth.platforms.kubernetes import changed_objects
from berth.platforms.kubernetes import platform as kubernetes
from berth.platforms.kubernetes.cluster import ClusterAccess
from berth.platforms.platform import HIDDEN
from berth.platforms.stack_context import StackContext

_ACCESS = ClusterAccess(kubeconfig=None, context=None)
_NAMESPACE = {
    "Deployment": "apps/v1", "Service": "v1", "ConfigMap": "v1", "Secret": "v1",
    "ServiceAccount": "v1", "HTTPRoute": "gateway.networking.k8s.io/v1",
    "Role": "rbac.authorization.k8s.io/v1", "HorizontalPodAutoscaler": "autoscaling/v2",
    "NetworkPolicy": "networking.k8s.io/v1",
}  # fmt: skip
_CLUSTER = {"ClusterRole": "rbac.authorization.k8s.io/v1"}


def _object(kind: str, name: str, version: str = "1", **content: Any) -> dict[str, Any]:
    namespace = {"namespace": "n"} if kind in _NAMESPACE else {}
    return {
        "apiVersion": (_NAMESPACE | _CLUSTER)[kind], "kind": kind,
        "metadata": {
            "name": name, "resourceVersion": version, "labels": {"app": name}, **namespace
        },
        **content,
    }  # fmt: skip


_RECORDED = [
    _object("Deployment", "digits-1", spec={
        "replicas": 1, "template": {"spec": {"containers": [{"name": "a", "image": "i"}]}},
    }),
    _object("HorizontalPodAutoscaler", "digits-1", spec={"scaleTargetRef": {"name": "digits-1"}}),
    _object("Deployment", "gateway", spec={"replicas": 2}),
    _object("Service", "gateway", spec={"ports": [{"port": 80}]}),
    _object("ConfigMap", "settings", data={"a": "1"}),
    _object("Secret", "token", data=HIDDEN),
    _object("ServiceAccount", "gateway", automountServiceAccountToken=False),
    _object("HTTPRoute", "digits", spec={"rules": [{"filters": [1]}]}),
    _object("Role", "traefik", rules=[{"verbs": ["get"]}]),
    _object("ClusterRole", "traefik", rules=[{"verbs": ["get"]}]),
    _object("NetworkPolicy", "deny", spec={}),
]  # fmt: skip


def _key(one: dict[str, Any]) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


class _Cluster:
    """A cluster whose objects are those of the last update until the test changes them."""

    def __init__(self) -> None:
        self.objects = {_key(one): copy.deepcopy(one) for one in _RECORDED}
        self.objects["Secret/token"]["data"] = {"token": "c2VjcmV0"}
        self.forbidden: set[str] = set()
        self.read: list[tuple[str, str]] = []

    def get_json(self, _client: Any, path: str, *, accept: str) -> Any:
        self.read.append((path, accept))
        if path.rpartition("/")[2] in self.forbidden:
            raise ApiException(status=403, reason="Forbidden")
        if "/namespaces/" not in path:
            role = self.objects.get(f"ClusterRole/{path.rpartition('/')[2]}")
            if role is None:
                raise ApiException(status=404)
            return role
        plural = path.rpartition("/")[2]
        return {
            "items": [
                one for one in self.objects.values()
                if re.sub("y$", "ie", one["kind"].lower()) + "s" == plural
            ]
        }  # fmt: skip


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> _Cluster:
    fake = _Cluster()
    monkeypatch.setattr(changed_objects, "get_json", fake.get_json)
    monkeypatch.setattr(ClusterAccess, "create_client", lambda _: None)
    return fake


def _resources(provider: str = "cluster") -> list[dict[str, Any]]:
    urn = f"urn:pulumi:prod::shop::pulumi:providers:kubernetes::{provider}::id"
    stack = {"type": "pulumi:pulumi:Stack", "id": "", "provider": "", "outputs": {}}
    return [
        stack,
        *({"type": "", "id": "", "provider": urn, "outputs": one} for one in _RECORDED),
    ]


def _find() -> list[str]:
    return list(changed_objects.find_changed_objects(_ACCESS, _resources()))


def test_what_other_programs_write_by_design_is_no_drift(cluster: _Cluster) -> None:
    assert _find() == []
    cluster.objects["Deployment/digits-1"]["spec"]["replicas"] = 4
    for one in cluster.objects.values():
        one["status"] = {"observedGeneration": 7}
        if one["kind"] != "Secret":
            one["metadata"]["resourceVersion"] = "9"
    cluster.objects["ServiceAccount/gateway"]["secrets"] = [{"name": "gateway-token"}]
    assert _find() == []


def _set(key: str, field: str, value: Any) -> Callable[[_Cluster], None]:
    return lambda cluster: cluster.objects[key].__setitem__(field, value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (_set("Deployment/gateway", "spec", {"replicas": 0}), "was changed: spec.replicas"),
        (
            _set("Deployment/gateway", "spec", {"replicas": 2, "paused": True}),
            "was changed: spec.paused",
        ),
        (
            lambda cluster: cluster.objects["Deployment/digits-1"]["spec"]["template"]["spec"][
                "containers"
            ][0].update(image="evil"),
            "was changed: spec.template.spec.containers[0].image",
        ),
        (_set("Service/gateway", "spec", {"ports": []}), "was changed: spec.ports"),
        (_set("ConfigMap/settings", "data", {"a": "2"}), "was changed: data.a"),
        (_set("HTTPRoute/digits", "spec", {"rules": [{}]}), "was changed: spec.rules[0].filters"),
        (
            _set("Role/traefik", "rules", [{"verbs": ["get", "list"]}]),
            "was changed: rules[0].verbs",
        ),
        (_set("ClusterRole/traefik", "rules", []), "was changed: rules"),
        (
            _set("ServiceAccount/gateway", "automountServiceAccountToken", True),
            "was changed: automountServiceAccountToken",
        ),
        (
            _set("Secret/token", "metadata", {"name": "token", "resourceVersion": "2"}),
            "was changed",
        ),
        (
            lambda cluster: cluster.objects["NetworkPolicy/deny"]["metadata"]["labels"].clear(),
            "was changed: labels.app",
        ),
    ],
)
def test_change_of_someone_else_is_drift(
    cluster: _Cluster, change: Callable[[_Cluster], None], line: str
) -> None:
    change(cluster)
    (found,) = _find()
    assert found.endswith(line)


@pytest.mark.parametrize("one", _RECORDED, ids=_key)
def test_deleted_object_is_drift(cluster: _Cluster, one: dict[str, Any]) -> None:
    del cluster.objects[_key(one)]
    assert _find() == [f"{one['kind']} {one['metadata']['name']} no longer exists"]


def test_values_of_secrets_are_not_read(cluster: _Cluster) -> None:
    _find()
    accepted = {path.rpartition("/")[2]: accept for path, accept in cluster.read}
    assert "PartialObjectMetadata" in accepted["secrets"]
    assert accepted["configmaps"] == "application/json"


def test_kinds_that_need_more_permissions_are_left_out(cluster: _Cluster) -> None:
    cluster.forbidden = {"secrets", "traefik"}
    assert _find() == []
    cluster.forbidden = {"httproutes"}
    with pytest.raises(OperationError, match="httproutes: 403"):
        _find()


@pytest.mark.parametrize("platform", [kubernetes.PLATFORM, AWS], ids=lambda one: str(one.name))
def test_each_site_is_compared_with_its_own_cluster(
    cluster: _Cluster, monkeypatch: pytest.MonkeyPatch, platform: Any
) -> None:
    asked: dict[str | None, list[str]] = {}

    def find(access: ClusterAccess, resources: list[dict[str, Any]]) -> list[str]:
        kinds = [one["outputs"]["kind"] for one in resources if one["outputs"]]
        asked[access.kubeconfig] = kinds
        if access.kubeconfig == "/plant/unreachable":
            raise OperationError("did not respond")
        return [f"{kinds[0]} changed"]

    monkeypatch.setattr(changed_objects, "find_changed_objects", find)
    site = SimpleNamespace(kubeconfig="/plant/kubeconfig", context=None)
    lost = SimpleNamespace(kubeconfig="/plant/unreachable", context=None)
    own = SimpleNamespace(kubeconfig="/own/kubeconfig", context=None)
    spec: Any = SimpleNamespace(
        kubernetes=own, edge=SimpleNamespace(sites={"plant-7": site, "lost": lost})
    )
    context = StackContext(root=Path("/"), stack="prod", spec=spec)
    resources = [*_resources(), *_resources("plant-7-cluster")[-1:]]
    lines = platform.find_drift(context, resources)
    assert lines == ["Deployment changed", "site plant-7: NetworkPolicy changed"]
    assert asked["/own/kubeconfig"] == [one["kind"] for one in _RECORDED]
