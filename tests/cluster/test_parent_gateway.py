"""Tests of a stack behind a Gateway of the cluster that someone else operates."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cluster.client_pod import Client, try_to_connect
from tests.cluster.cluster import Cluster, poll
from tests.cluster.foreign_gateway import (
    NAME,
    NAMESPACE,
    PRIVATE_LISTENER,
    build_parent_gateway,
    foreign_gateway,
)
from tests.cluster.stacks import (
    SMALL,
    build_stack_file,
    count_requests,
    create_load,
    create_project,
    read_config,
)
from tests.engine.project import Project, wait_for

__all__ = ["foreign_gateway"]

_STACK = "attached"
_MODELS = {
    "digits": {
        "versions": {"1": {}, "2": {}},
        "traffic": {"1": 90, "2": 10},
        "resources": SMALL,
    }
}


def _build_stack_file(cluster: Cluster) -> dict[str, Any]:
    content = build_stack_file(cluster, _STACK, models=_MODELS)
    kubernetes = content["config"]["berth:kubernetes"]
    for key in ("controller_image", "controller_replicas"):
        del kubernetes[key]
    kubernetes["parent_gateway"] = build_parent_gateway(cluster)
    return content


@pytest.fixture(scope="module")
def project(
    foreign_gateway: str, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A stack that is not deployed yet."""
    yield create_project(tmp_path_factory.mktemp(_STACK), _STACK, _build_stack_file(cluster))
    cluster.delete_namespaces(_STACK)


@pytest.fixture(scope="module")
def attached(project: Project) -> Project:
    """The stack, deployed."""
    project.berth("up", "--yes")
    return project


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "missing"}, "Gateway infra/missing does not exist"),
        ({"section_name": "wbe"}, "has no listener wbe; its listeners: web, private"),
        ({"section_name": PRIVATE_LISTENER}, "admits only routes of its own namespace"),
        ({"plain_http": False, "url": None}, "listener web of Gateway infra/shared serves plain"),
    ],
)  # fmt: skip
def test_gateway_that_would_not_forward_requests_is_refused_before_anything_is_created(
    project: Project, cluster: Cluster, change: dict[str, Any], expected: str
) -> None:
    before = cluster.list_names("namespaces")
    text = project.config_file.read_text()
    try:
        project.edit(
            lambda config: config["berth:kubernetes"].update(
                parent_gateway={
                    key: value
                    for key, value in build_parent_gateway(cluster, **change).items()
                    if value is not None
                }
            )
        )
        error = project.berth("up", "--yes", code=2).stderr
    finally:
        project.config_file.write_text(text)
    assert expected in error
    assert "Nothing was changed" in error
    assert cluster.list_names("namespaces") == before


def test_requests_pass_the_gateway_and_only_its_controller_reaches_berth(
    attached: Project, cluster: Cluster
) -> None:
    attached.berth("preview", "--expect-no-changes")
    status = attached.json("status")
    assert status["gateway"] == "ready"
    assert status["parent_gateway"] == {"name": NAME, "namespace": NAMESPACE, "section_name": "web"}
    load = create_load(attached)
    wrong = httpx.post(f"{load.endpoint}{load.path}", headers={"x-api-key": "x"}, content=load.body)
    assert wrong.status_code == 401
    assert cluster.list_names("deployments", "-n", _STACK) == ["digits-1", "digits-2", "gateway"]
    assert cluster.list_names("httproutes", "-n", _STACK) == ["berth.gateway"]

    (pod,) = cluster.get("pods", "-n", _STACK, "-l", "app.kubernetes.io/name=gateway")["items"]
    image = pod["spec"]["containers"][0]["image"]
    address = pod["status"]["podIP"]
    clients = [Client(NAMESPACE, address, 8080, labels) for labels in ({}, {"app": "controller"})]
    blocked, connected = try_to_connect(cluster, image, clients)
    assert blocked.startswith("blocked"), blocked
    assert connected.startswith("connected"), connected


def test_changed_weights_and_a_shadow_lose_no_request(attached: Project, cluster: Cluster) -> None:
    def change(**digits: Any) -> None:
        attached.edit(lambda config: config["berth:models"]["digits"].update(digits))
        attached.berth("up", "--yes")

    if "shadow" in read_config(attached)["berth:models"]["digits"]:  # The test is repeated.
        change(traffic={"1": 90, "2": 10}, shadow=None)
    load = create_load(attached)
    with load.running(clients=2):
        wait_for(lambda: load.total >= 1000, seconds=120)
        expected, tolerance = load.total * 0.1, 4 * (load.total * 0.1 * 0.9) ** 0.5
        assert abs(load.versions["2"] - expected) < tolerance
        change(traffic={"1": 100}, shadow="2")
        before = dict(load.versions)
        mirrored = count_requests(cluster, _STACK, "2")
        wait_for(lambda: load.versions["1"] > before["1"] + 300, seconds=120)
        poll(lambda: count_requests(cluster, _STACK, "2") > mirrored + 100, seconds=60)
        assert load.versions["2"] == before["2"]
    load.assert_no_failures()


def _admit(cluster: Cluster, source: str) -> None:
    patch = [
        {
            "op": "replace",
            "path": "/spec/listeners/0/allowedRoutes/namespaces/from",
            "value": source,
        }
    ]
    arguments = ("-n", NAMESPACE, "gateway", NAME, "--type=json", "-p", json.dumps(patch))
    cluster.kubectl("patch", *arguments)


def test_rejected_route_is_reported_with_the_reason_of_the_controller(
    attached: Project, cluster: Cluster
) -> None:
    _admit(cluster, "Same")
    try:
        poll(lambda: attached.json("status")["gateway"] == "NotAllowedByListeners", seconds=60)
        error = attached.berth("up", "--yes", code=2).stderr
        assert "listener web of Gateway infra/shared admits only routes of its own" in error
    finally:
        _admit(cluster, "All")
    poll(lambda: attached.json("status")["gateway"] == "ready", seconds=60)


@pytest.mark.runs_last
def test_destroy_keeps_the_gateway(attached: Project, cluster: Cluster) -> None:
    before = cluster.get("gateway", NAME, "-n", NAMESPACE)["metadata"]
    attached.berth("destroy", "--yes")
    assert _STACK not in cluster.list_names("namespaces")
    after = cluster.get("gateway", NAME, "-n", NAMESPACE)["metadata"]
    assert (after["uid"], after["generation"]) == (before["uid"], before["generation"])
