"""Copies: the autoscaler, the budget for disruptions, and graphics processors."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from berth_protocol.model_card import read_card
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
    eventually(lambda: versions()["1"]["replicas"] == "2/2", seconds=60)
    assert (versions()["2"]["state"], versions()["2"]["replicas"]) == ("cold", "0/0")


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


_GROUP = "accelerated"
_GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def _group_of_nodes() -> list[dict[str, Any]]:
    """A group of nodes that is empty, with what the cluster autoscaler knows of such a node: as of
    a pool with `compute: gpu` (components/aws/node_pool.py)."""
    room = {"cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": "2"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": _GROUP,
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                "kubernetes.io/hostname": _GROUP,
                "pool": "gpu",
                "group": _GROUP,
                "nvidia.com/gpu.product": "H100",
            },
            "annotations": {
                f"cluster-autoscaler.kwok.nodegroup/{bound}-count": str(number)
                for bound, number in (("min", 0), ("max", 5), ("desired", 0))
            },
        },
        "spec": {"taints": [_GPU_TAINT]},
        "status": {
            "allocatable": room,
            "capacity": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    }
    settings = {
        "apiVersion": "v1alpha1",
        "readNodesFrom": "configmap",
        "nodegroups": {"fromNodeLabelKey": "group"},
        "nodes": {
            "skipTaint": True,
            "gpuConfig": {
                "gpuLabelKey": "nvidia.com/gpu.product",
                "availableGPUTypes": {"H100": {}},
            },
        },
        "configmap": {"name": "kwok-provider-templates", "key": "templates"},
    }
    nodes = {"apiVersion": "v1", "kind": "List", "items": [node]}
    return [
        _config_map("kwok-provider-config", "config", settings),
        _config_map("kwok-provider-templates", "templates", nodes),
    ]


def _config_map(name: str, key: str, content: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": {key: json.dumps(content)},
    }


@contextmanager
def _autoscaler(cluster: Cluster, log: Path) -> Iterator[None]:
    """The real cluster autoscaler, for as long as the block; its cloud is kwok's fake nodes."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                "cluster-autoscaler", "--cloud-provider=kwok", "--namespace=kube-system",
                f"--kubeconfig={cluster.kubeconfig}", "--leader-elect=false",
                "--scan-interval=1s", "--scale-down-delay-after-add=2s",
                "--scale-down-unneeded-time=3s", "--unremovable-node-recheck-timeout=2s",
                "--node-delete-delay-after-taint=0s", "--address=127.0.0.1:0", "--v=1",
            ],
            env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig), "POD_NAMESPACE": "kube-system",
                              "KWOK_PROVIDER_MODE": "local"},
            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def test_gpu_nodes_come_from_none_and_go_to_none(
    stack: Project, cluster: Cluster, tmp_path: Path
) -> None:
    """The berths of the test before lose their nodes; what needs none brings none back."""
    if shutil.which("cluster-autoscaler") is None:
        pytest.skip("no `cluster-autoscaler` on the PATH, the real one that this test runs")

    def nodes() -> list[Any]:
        found: list[Any] = cluster.get("nodes", "-l", "pool=gpu")["items"]
        return found

    cluster.run("delete", "nodes", "-l", "pool=gpu")
    cluster.apply(*_group_of_nodes())
    with _autoscaler(cluster, tmp_path / "autoscaler.log"):
        # Three berths with two processors each, on nodes that have two.
        eventually(lambda: len(nodes()) == 3, seconds=120)
        eventually(
            lambda: (
                cluster.get("deployment", "breast-cancer-1", "-n", _NAMESPACE)["status"].get(
                    "readyReplicas"
                )
                == 3
            ),
            seconds=60,
        )
        stack.edit(lambda config: config["berth:models"].pop("breast-cancer"))
        stack.berth("up", "--yes")
        eventually(lambda: nodes() == [], seconds=120)
