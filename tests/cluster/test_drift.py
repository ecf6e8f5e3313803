"""Objects that somebody changes in the cluster are reported first, and `berth up` restores them."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest

from tests.cluster.cluster import Cluster, poll
from tests.cluster.stacks import SMALL, build_stack_file, create_project
from tests.engine.project import Project

_NAMESPACE = "drift"
_INFER = "/v2/models/breast-cancer/infer"


@pytest.fixture(scope="module")
def stack(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    models = {"breast-cancer": {"versions": {"1": {}}, "resources": SMALL}}
    content = build_stack_file(cluster, _NAMESPACE, models=models)
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


def test_removed_filters_are_reported_by_every_command_and_restored(
    stack: Project, cluster: Cluster
) -> None:
    endpoint = stack.json("status")["endpoint"]
    poll(lambda: _status_without_key(endpoint) == 401, seconds=30)
    stack.berth("preview", "--expect-no-changes")
    name = "breast-cancer"
    route = cluster.get("httproute", name, "-n", _NAMESPACE)
    rules = [{k: v for k, v in rule.items() if k != "filters"} for rule in route["spec"]["rules"]]
    patch = json.dumps({"spec": {"rules": rules}})
    cluster.kubectl("patch", "httproute", name, "-n", _NAMESPACE, "--type=merge", "-p", patch)
    cluster.kubectl("delete", "networkpolicy", f"{name}-1", "-n", _NAMESPACE)

    notes = stack.json("status")["notes"]
    assert [note for note in notes if f"HTTPRoute {name} was changed" in note]
    assert [note for note in notes if f"NetworkPolicy {name}-1 no longer exists" in note]
    preview = stack.berth("preview", "--expect-no-changes", code=1)
    assert "Drift: these differ from the last update of stack 'drift'" in preview.stderr
    assert re.search(rf"HTTPRoute {name}\S* was changed: spec", preview.stderr)
    assert re.search(rf"NetworkPolicy {name}-1\S* no longer exists", preview.stderr)

    updated = stack.berth("up", "--yes")
    assert "Drift:" in updated.stderr
    poll(lambda: _status_without_key(endpoint) == 401, seconds=60)
    restored = cluster.get("httproute", name, "-n", _NAMESPACE)
    assert restored["spec"]["rules"] == route["spec"]["rules"]
    assert stack.json("status")["notes"] == []
    assert "Drift" not in stack.berth("preview", "--expect-no-changes").stderr


def test_up_after_refresh_restores_the_configuration(stack: Project, cluster: Cluster) -> None:
    args = ("-n", _NAMESPACE, "--replicas=2")
    cluster.kubectl("scale", "deployment", "gateway", *args)
    assert stack.json("refresh", "--yes")["result"] == "refreshed"
    stack.berth("preview", "--expect-no-changes", code=1)
    stack.berth("up", "--yes")
    deployment = cluster.get("deployment", "gateway", "-n", _NAMESPACE)
    assert deployment["spec"]["replicas"] == 1
    stack.berth("preview", "--expect-no-changes")
