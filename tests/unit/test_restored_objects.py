"""Objects in a cluster compared with their declaration, and restored to it."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from kubernetes.client import ApiException

from berth.operations.drift import Drift, merge_drift
from berth.platforms.kubernetes import changed_objects, declared_objects
from berth.platforms.kubernetes.changed_objects import find_changed_objects
from berth.platforms.kubernetes.cluster import ClusterAccess
from berth.platforms.kubernetes.declared_objects import build_declared, find_unmet
from berth.platforms.kubernetes.restored_objects import NotRestoredError, restore_changed_objects
from berth.platforms.platform import HIDDEN

_ACCESS = ClusterAccess(kubeconfig=None, context=None)
_RBAC = "rbac.authorization.k8s.io/v1"
# What an API server adds to each declaration.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "Role": {},
    "Service": {"sessionAffinity": "None", "type": "ClusterIP"},
    "Deployment": {"progressDeadlineSeconds": 600},
}


def _declare(kind: str, version: str, **content: Any) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "n", "labels": {"app": "a"}, "annotations": {"own": "1"}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


_DECLARED = [
    _declare("Role", _RBAC, rules=[{"resources": ["pods"], "verbs": ["get"]}]),
    _declare("Service", "v1", spec={"selector": {"app": "a"}, "ports": [{"port": 80}]}),
    _declare("Deployment", "apps/v1", spec={
        "replicas": 1,
        "template": {
            "metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "KEY"}]}]},
        },
    }),
]  # fmt: skip
_AUTOSCALER = {
    "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "a", "namespace": "n"}, "spec": {"scaleTargetRef": {"name": "a"}},
}  # fmt: skip


def _store(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object as an API server stores it."""
    stored = copy.deepcopy(dict(declared))
    if "spec" in stored:
        stored["spec"] = {**_DEFAULTS.get(stored["kind"], {}), **stored["spec"]}
    return stored


class _Cluster:
    """A cluster with the declared objects, and the state that an update left."""

    def __init__(self) -> None:
        self.objects = {one["kind"]: _store(one) for one in [*_DECLARED, _AUTOSCALER]}
        for one in self.objects.values():
            own = {"manager": "pulumi", "operation": "Apply", "fieldsV1": {"f:spec": {}}}
            one["metadata"] |= {"uid": "1", "resourceVersion": "7", "managedFields": [own]}
        self.resources: list[dict[str, Any]] = []
        self.refresh()
        self.errors: list[int] = []
        self.replaced: list[str] = []
        self.questions = 0

    def refresh(self) -> None:
        """Write the objects to the state, as a refresh does. The provider keeps the inputs."""
        declared = {one["kind"]: one for one in _DECLARED}
        self.resources = [
            {
                "type": "kubernetes:", "id": "", "provider": "", "urn": f"urn:{kind}::{kind}::a",
                "inputs": declared.get(kind, {}),
                "outputs": copy.deepcopy(one) | {"__fieldManager": "pulumi"},
            }
            for kind, one in self.objects.items()
        ]  # fmt: skip

    def patch(self, kind: str, change: Callable[[dict[str, Any]], object]) -> None:
        change(self.objects[kind])
        metadata = self.objects[kind]["metadata"]
        metadata["resourceVersion"] = "8"
        writer: dict[str, Any] = {"manager": "kubectl-patch", "operation": "Update"}
        metadata["managedFields"].append(writer | {"fieldsV1": {"f:spec": {}}})

    def get_json(self, _client: Any, path: str, **_: Any) -> Any:
        before, last = path.split("/")[-2:]
        by_plural = {f"{kind.lower()}s": one for kind, one in self.objects.items()}
        if before in by_plural:
            return copy.deepcopy(by_plural[before])
        return {"items": [copy.deepcopy(by_plural[last])]}

    def replace_object(
        self, _client: Any, path: str, body: dict[str, Any], *, manager: str, is_dry_run: bool
    ) -> dict[str, Any]:
        assert (manager, path.rpartition("/")[2]) == ("berth", "a")
        self.questions += 1
        if self.errors:
            raise ApiException(status=self.errors.pop(0), reason="reason")
        current = self.objects[body["kind"]]["metadata"]
        if body["metadata"]["resourceVersion"] != current["resourceVersion"]:
            raise ApiException(status=409, reason="Conflict")
        if not is_dry_run:
            self.replaced.append(body["kind"])
            self.objects[body["kind"]] = _store(body)
        return _store(body)

    def find(self) -> list[str]:
        return list(find_changed_objects(_ACCESS, self.resources))

    def restore(self) -> list[str]:
        return list(restore_changed_objects(_ACCESS, self.resources))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> _Cluster:
    fake = _Cluster()
    monkeypatch.setattr(changed_objects, "get_json", fake.get_json)
    monkeypatch.setattr(declared_objects, "get_json", fake.get_json)
    monkeypatch.setattr(declared_objects, "replace_object", fake.replace_object)
    monkeypatch.setattr(ClusterAccess, "create_client", lambda _: None)
    return fake


def _container(one: dict[str, Any]) -> dict[str, Any]:
    containers: list[dict[str, Any]] = one["spec"]["template"]["spec"]["containers"]
    return containers[0]


_CHANGES: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("Role", lambda one: one["rules"][0]["verbs"].append("delete"), "rules[0].verbs"),
    ("Role", lambda one: one["rules"].append({"verbs": ["*"]}), "rules"),
    (
        "Service",
        lambda one: one["spec"].update(sessionAffinity="ClientIP"),
        "spec.sessionAffinity",
    ),
    ("Service", lambda one: one["spec"]["selector"].update(b="c"), "spec.selector.b"),
    ("Service", lambda one: one["spec"].pop("selector"), "spec.selector"),
    ("Service", lambda one: one["metadata"]["labels"].clear(), "labels.app"),
    ("Service", lambda one: one["metadata"]["annotations"].update(own="2"), "annotations.own"),
    (
        "Deployment",
        lambda one: one["spec"]["template"]["spec"].update(hostNetwork=True),
        "spec.template.spec.hostNetwork",
    ),
    (
        "Deployment",
        lambda one: _container(one).update(securityContext={"privileged": True}),
        "spec.template.spec.containers[0].securityContext",
    ),
    (
        "Deployment",
        lambda one: _container(one)["env"].append({"name": "LD_PRELOAD"}),
        "spec.template.spec.containers[0].env",
    ),
]
_EACH_CHANGE = pytest.mark.parametrize(
    ("kind", "change", "path"), _CHANGES, ids=[f"{kind} {path}" for kind, _, path in _CHANGES]
)


@pytest.mark.parametrize("is_refreshed", [False, True], ids=["before", "after"])
@_EACH_CHANGE
def test_changed_object_is_reported_and_restored_also_after_a_refresh(
    cluster: _Cluster,
    kind: str,
    change: Callable[[dict[str, Any]], object],
    path: str,
    is_refreshed: bool,
) -> None:
    cluster.patch(kind, change)
    if is_refreshed:
        cluster.refresh()
    assert cluster.find() == [f"{kind} a was changed: {path}"]
    assert cluster.restore() == [f"Restored {kind} a: {path}"]
    assert cluster.replaced == [kind]
    declared = next(one for one in _DECLARED if one["kind"] == kind)
    restored = cluster.objects[kind]
    assert list(find_unmet(declared, restored)) == []
    assert {k: v for k, v in restored.items() if k != "metadata"} == {
        k: v for k, v in _store(declared).items() if k != "metadata"
    }
    assert cluster.find() == []
    assert cluster.restore() == []


def test_unchanged_objects_need_no_question_to_the_cluster(cluster: _Cluster) -> None:
    for one in cluster.objects.values():
        one["status"] = {"replicas": 1}
        one["metadata"] |= {"resourceVersion": "9"}
        one["metadata"]["managedFields"].append(
            {"manager": "controller", "operation": "Update", "subresource": "status"}
        )
    cluster.refresh()
    assert cluster.find() == []
    assert cluster.restore() == []
    assert cluster.questions == 0


def test_what_belongs_to_other_programs_is_neither_reported_nor_removed(cluster: _Cluster) -> None:
    def write(one: dict[str, Any]) -> None:
        one["metadata"]["labels"]["backup"] = "daily"
        one["metadata"]["annotations"]["mesh"] = "on"
        one["metadata"]["finalizers"] = ["load-balancer"]

    def scale(one: dict[str, Any]) -> None:
        write(one)
        one["spec"]["replicas"] = 5
        annotations = {"kubectl.kubernetes.io/restartedAt": "today"}
        one["spec"]["template"]["metadata"]["annotations"] = annotations

    cluster.patch("Service", write)
    cluster.patch("Deployment", scale)
    assert cluster.find() == []
    assert cluster.restore() == []
    before = copy.deepcopy(cluster.objects["Deployment"])
    cluster.patch("Deployment", lambda one: _container(one).update(image="evil"))
    assert cluster.restore()
    restored = cluster.objects["Deployment"]
    assert restored["spec"] == before["spec"]
    for key in ("labels", "annotations", "finalizers", "uid"):
        assert restored["metadata"][key] == before["metadata"][key]


def test_without_permission_only_what_is_certain_is_reported(cluster: _Cluster) -> None:
    cluster.patch("Role", lambda one: one["rules"][0]["verbs"].append("delete"))
    cluster.patch("Service", lambda one: one["spec"].update(type="NodePort"))
    cluster.errors = [403, 403]
    assert sorted(cluster.find()) == [
        "Role a was changed: rules[0].verbs",
        "Service a was changed: spec.type",
    ]
    cluster.refresh()
    cluster.errors = [403, 403]
    assert cluster.find() == []


def test_object_that_a_controller_writes_meanwhile_is_restored(cluster: _Cluster) -> None:
    cluster.patch("Role", lambda one: one["rules"].append({"verbs": ["*"]}))
    cluster.errors = [409, 409, 409, 409]
    assert cluster.restore() == ["Restored Role a: rules"]
    assert cluster.objects["Role"]["rules"] == _DECLARED[0]["rules"]


def test_rejected_object_is_named_after_the_others_are_restored(
    cluster: _Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.patch("Role", lambda one: one["rules"].append({"verbs": ["*"]}))
    cluster.patch("Service", lambda one: one["spec"].update(type="NodePort"))
    replace = cluster.replace_object

    def reject(client: Any, path: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
        if body["kind"] == "Role" and not options["is_dry_run"]:
            raise ApiException(status=422, reason="Invalid")
        return replace(client, path, body, **options)

    monkeypatch.setattr(declared_objects, "replace_object", reject)
    with pytest.raises(NotRestoredError, match=r"Role a was changed: rules .* 422 Invalid.*berth"):
        cluster.restore()
    assert cluster.replaced == ["Service"]


def test_hidden_value_is_that_in_the_cluster() -> None:
    declared = _declare("Deployment", "apps/v1", spec={"a": [{"value": HIDDEN}, {"b": HIDDEN}]})
    actual = _declare("Deployment", "apps/v1", spec={"a": [{"value": "s", "more": 1}]})
    body = build_declared(declared, actual, is_scaled=False)
    assert body["spec"] == {"a": [{"value": "s"}, {"b": None}]}


def test_engine_drift_is_reported_only_for_what_the_platform_does_not_name() -> None:
    urn = (
        "urn:pulumi:dev::shop::berth:Traefik$kubernetes:rbac.authorization.k8s.io/v1:Role::traefik"
    )
    outputs = {"kind": "Role", "metadata": {"name": "shop-traefik"}}
    resources = [{"urn": urn, "outputs": outputs}, {"urn": "", "outputs": {}}]
    engine = [Drift("Role traefik", ("rules",)), Drift("NamespaceClaim c", is_deleted=True)]
    line = "Role shop-traefik was changed: rules[0].verbs"
    claim = "NamespaceClaim c no longer exists"
    assert merge_drift(engine, [line], resources) == [line, claim]
    assert merge_drift(engine, [], resources) == ["Role traefik was changed: rules", claim]
