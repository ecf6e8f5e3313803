"""Copies: the autoscaler, the budget for disruptions, and graphics processors."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from serving_app.card import read_card
from tests.cluster.cluster import Cluster
from tests.cluster.stacks import new_project, stack_file
from tests.engine.project import Load, Project, eventually

_NAMESPACE = "scaled"


@pytest.fixture(scope="module")
def stack(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two to four copies; a version that stands by warm, and one that is cold."""
    content = stack_file(cluster, _NAMESPACE)
    content["config"]["berth:models"] = {
        "digits": {
            "versions": {"1": {}, "2": {"standby": "cold"}},
            "traffic": {"1": 100, "2": 0},
            "replicas": {"min": 2, "max": 4, "target_cpu_percent": 50},
            "resources": {"cpu": "100m", "memory": "192Mi"},
        },
        "breast-cancer": {
            "versions": {"1": {}},
            "resources": {"cpu": "50m", "memory": "192Mi"},
        },
    }
    project = new_project(tmp_path_factory.mktemp("scaled"), "scaled", content)
    project.berth("up", "--yes")
    yield project
    cluster.drop(_NAMESPACE)


def _load(project: Project) -> Load:
    request = read_card(project.root / "models" / "digits" / "1").example
    return Load(
        endpoint=project.json("status")["endpoint"],
        headers={"x-api-key": project.key(), "content-type": "application/json"},
        path="/v2/models/digits/infer",
        body=json.dumps(request).encode(),
    )


def _ready(cluster: Cluster) -> int:
    found = cluster.get("deployment", "digits-1", "-n", _NAMESPACE)
    return int(found["status"].get("readyReplicas", 0))


def test_a_cold_version_has_no_copies(stack: Project) -> None:
    def versions() -> Any:
        return stack.json("status")["models"]["digits"]["versions"]

    # `up` awaits the first copy; the autoscaler brings it to the least that it keeps.
    eventually(lambda: versions()["1"]["copies"] == "2/2", seconds=60)
    assert (versions()["2"]["state"], versions()["2"]["copies"]) == ("cold", "0/0")


def test_emptying_a_node_keeps_to_the_budget(stack: Project, cluster: Cluster) -> None:
    """The one node is emptied: the first copy goes and finds no other node, so the second stays."""
    load = _load(stack)
    with load.running(clients=2):
        try:
            said = cluster.run(
                "drain", "node-1", "--pod-selector=berth/model=digits", "--timeout=20s",
                "--delete-emptydir-data", "--ignore-daemonsets", code=None,
            )  # fmt: skip
        finally:
            cluster.run("uncordon", "node-1")
        assert "disruption budget" in said
        assert _ready(cluster) >= 1
        eventually(lambda: _ready(cluster) == 2, seconds=60)
    load.expect_none_lost()


def test_copies_follow_the_load_up_and_down(stack: Project, cluster: Cluster) -> None:
    load = _load(stack)
    with load.running(clients=8):
        eventually(lambda: _ready(cluster) > 2, seconds=180)
        stack.berth("preview", "--expect-no-changes")  # the number is the autoscaler's
    load.expect_none_lost()
    eventually(lambda: _ready(cluster) == 2, seconds=300)


def test_gpu_berths_go_to_gpu_nodes_and_nothing_else_does(stack: Project, cluster: Cluster) -> None:
    """Fake nodes with the real scheduler; the real node says it has processors, and no taint."""
    cluster.nodes(
        "3", "--prefix", "gpu", "--gpu", "4", "--label", "pool=gpu",
        "--taint", "nvidia.com/gpu=present:NoSchedule",
    )  # fmt: skip
    cluster.run("taint", "nodes", "-l", "pool=gpu", "kwok.x-k8s.io/node-")  # that they are fake
    image = stack.json("status")["models"]["breast-cancer"]["versions"]["1"]["image"]

    def change(config: Any) -> None:
        config["berth:kubernetes"]["gpu"] = {"node_selector": {"pool": "gpu"}}
        config["berth:models"]["breast-cancer"] |= {
            # Pinned, so that no image for CUDA (some gigabytes) is built for a fake node.
            "versions": {"1": {"image": image.partition("@")[2]}},
            "compute": "gpu",
            "replicas": {"min": 3, "max": 3},
            "resources": {"gpu": 2, "cpu": "50m", "memory": "192Mi"},
        }

    stack.edit(change)
    stack.berth("up", "--yes")
    pods = cluster.get("pods", "-n", _NAMESPACE)["items"]
    on = {
        pod["metadata"]["name"]: pod["spec"].get("nodeName", "")
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    }
    gpu = {name: node for name, node in on.items() if name.startswith("breast-cancer")}
    assert len(gpu) == 3
    assert all(node.startswith("gpu-") for node in gpu.values())
    assert all(node == "node-1" for name, node in on.items() if name not in gpu)
    (pod, *_) = [pod for pod in pods if pod["metadata"]["name"] in gpu]
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
