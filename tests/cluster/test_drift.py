"""Objects that somebody changes in the cluster are reported first, and `berth up` restores them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from berth_protocol.model_card import read_card
from tests.cluster.cluster import Cluster, poll
from tests.cluster.stacks import SMALL, build_stack_file, create_project
from tests.engine.project import Project

_NAMESPACE = "drift"
_MODEL = "breast-cancer"
_INFER = f"/v2/models/{_MODEL}/infer"


@pytest.fixture(scope="module")
def stack(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    model = {"versions": {"1": {}}, "resources": SMALL, "capture": {"percent": 100}}
    content = build_stack_file(cluster, _NAMESPACE, models={_MODEL: model})
    content["config"]["berth:kubernetes"] |= {
        "monitoring": True,
        "monitor_labels": {"release": "prometheus"},
    }
    project = create_project(tmp_path_factory.mktemp("drift"), "drift", content)
    project.berth("up", "--yes")
    yield project
    cluster.delete_namespaces(_NAMESPACE)


def _status_without_key(endpoint: str) -> int:
    """Return the status of a request without a key, or 0 without a response."""
    try:
        return httpx.post(f"{endpoint}{_INFER}", json={}, timeout=20).status_code
    except httpx.HTTPError:
        return 0


def _add(path: str, value: object) -> list[dict[str, Any]]:
    return [{"op": "add", "path": path, "value": value}]


_CONTAINER = "/spec/template/spec/containers/0"
# Kind, name, patch of RFC 6902, and the field that is reported. The provider does not see those
# that add to what the stack declares.
_PATCHES: list[tuple[str, str, list[dict[str, Any]], str]] = [
    ("HTTPRoute", _MODEL, [{"op": "remove", "path": "/spec/rules/0/filters"}], "spec.rules"),
    ("Role", "traefik", _add("/rules/0/verbs/-", "delete"), "rules[0].verbs"),
    (
        "ClusterRoleBinding",
        "",
        _add("/subjects/-", {"kind": "ServiceAccount", "name": "default", "namespace": "default"}),
        "subjects",
    ),
    (
        "NetworkPolicy",
        f"{_MODEL}-1",
        _add("/spec/ingress/-", {"from": [{"namespaceSelector": {}}]}),
        "spec.ingress",
    ),
    (
        "Deployment",
        f"{_MODEL}-1",
        _add(f"{_CONTAINER}/securityContext/readOnlyRootFilesystem", value=False)
        + _add(f"{_CONTAINER}/command", ["/bin/sh"]),
        "spec.template.spec.containers[0].command",
    ),
    (
        "Deployment",
        "gateway",
        _add(f"{_CONTAINER}/env/-", {"name": "EXTRA", "value": "1"}),
        "spec.template.spec.containers[0].env",
    ),
    (
        "Service",
        "gateway",
        _add("/spec/sessionAffinity", "ClientIP") + _add("/spec/selector/extra", "x"),
        "spec.selector.extra",
    ),
    (
        "PrometheusRule",
        "berth-monitoring",
        [{"op": "remove", "path": "/spec/groups/1/rules/0"}],
        "spec.groups[1].rules",
    ),
    (
        "PodMonitor",
        "gateway",
        _add("/spec/podMetricsEndpoints/0/path", "/other"),
        "spec.podMetricsEndpoints[0].path",
    ),
    (
        "PodDisruptionBudget",
        "gateway",
        [{"op": "remove", "path": "/metadata/labels/app.kubernetes.io~1part-of"}],
        "labels.app.kubernetes.io/part-of",
    ),
]


def _find_name(cluster: Cluster, kind: str, name: str) -> str:
    """Return `name`, or that of the stack's only object of a kind in the whole cluster."""
    if name:
        return name
    (found,) = [x for x in cluster.list_names(kind.lower()) if x.startswith(f"berth-{_NAMESPACE}-")]
    return found


def _read_content(cluster: Cluster, kind: str, name: str) -> dict[str, Any]:
    one = cluster.get(kind.lower(), name, "-n", _NAMESPACE)
    content = {key: one[key] for key in ("spec", "rules", "subjects") if key in one}
    return content | {"labels": one["metadata"]["labels"]}


def test_changed_objects_are_reported_by_every_command_and_restored(
    stack: Project, cluster: Cluster
) -> None:
    endpoint = stack.json("status")["endpoint"]
    poll(lambda: _status_without_key(endpoint) == 401, seconds=30)
    stack.berth("preview", "--expect-no-changes")
    before, fields = {}, {}
    for kind, given, patch, field in _PATCHES:
        name = _find_name(cluster, kind, given)
        fields[kind, name] = field
        before[kind, name] = _read_content(cluster, kind, name)
        args = ("-n", _NAMESPACE, "--type=json", "-p", json.dumps(patch))
        cluster.kubectl("patch", kind.lower(), name, *args)
    cluster.kubectl("delete", "networkpolicy", "valkey", "-n", _NAMESPACE)
    lines = [
        *(f"{kind} {name} was changed: {field}" for (kind, name), field in fields.items()),
        "NetworkPolicy valkey no longer exists",
    ]

    notes = "\n".join(stack.json("status")["notes"])
    preview = stack.berth("preview", "--expect-no-changes", code=1)
    assert "Drift: these differ from the last update of stack 'drift'" in preview.stderr
    updated = stack.berth("up", "--yes")
    for line in lines:
        assert line in notes
        assert line in preview.stderr
        assert line in updated.stderr

    poll(lambda: _status_without_key(endpoint) == 401, seconds=60)
    for kind, name in before:
        assert _read_content(cluster, kind, name) == before[kind, name]
    assert stack.json("status")["notes"] == []
    assert "Drift" not in stack.berth("preview", "--expect-no-changes").stderr


def test_requests_are_captured_in_their_pod(stack: Project, tmp_path: Path) -> None:
    stack.berth("invoke", _MODEL)
    out = tmp_path / "rows.jsonl"
    assert "Wrote" in stack.berth("capture", _MODEL, "1", "--out", str(out)).stdout
    captured = json.loads(out.read_text().splitlines()[-1])
    example = read_card(stack.root / "models" / _MODEL / "1").example["inputs"][0]
    (tensor,) = captured["inputs"]
    assert (tensor["name"], tensor["shape"]) == (example["name"], example["shape"])
    assert {output["name"] for output in captured["outputs"]} == {"label", "probabilities"}


def test_up_after_refresh_restores_the_configuration(stack: Project, cluster: Cluster) -> None:
    args = ("-n", _NAMESPACE, "--replicas=2")
    cluster.kubectl("scale", "deployment", "gateway", *args)
    rules = cluster.get("role", "traefik", "-n", _NAMESPACE)["rules"]
    patch = json.dumps(_add("/rules/0/verbs/-", "delete"))
    cluster.kubectl("patch", "role", "traefik", "-n", _NAMESPACE, "--type=json", "-p", patch)
    assert stack.json("refresh", "--yes")["result"] == "refreshed"
    preview = stack.berth("preview", "--expect-no-changes", code=1)
    assert "Role traefik was changed: rules[0].verbs" in preview.stderr
    updated = stack.berth("up", "--yes")
    assert "Restored Role traefik: rules[0].verbs" in updated.stderr
    assert cluster.get("role", "traefik", "-n", _NAMESPACE)["rules"] == rules
    deployment = cluster.get("deployment", "gateway", "-n", _NAMESPACE)
    assert deployment["spec"]["replicas"] == 1
    stack.berth("preview", "--expect-no-changes")
