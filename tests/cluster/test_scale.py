"""Tests of replicas: the autoscaler, the disruption budget, and the placement on GPU nodes."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pulumi_berth.images import layers
from pulumi_berth.oci import documents
from pulumi_berth.oci.layer import write_layer
from pulumi_berth.oci.registry import Repository
from pulumi_berth.oci.tree import text_file
from tests.cluster.cluster import Cluster, poll
from tests.cluster.stacks import SMALL, build_stack_file, create_load, create_project, read_config
from tests.engine.project import Project

_NAMESPACE = "scaled"


@pytest.fixture(scope="module")
def stack(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A stack with an autoscaled version of two to four replicas, and a cold version."""
    content = build_stack_file(cluster, _NAMESPACE)
    content["config"]["berth:models"] = {
        "digits": {
            "versions": {"1": {}, "2": {"standby": "cold"}},
            "traffic": {"1": 100, "2": 0},
            "replicas": {"min": 2, "max": 4, "target_cpu_percent": 50},
            "resources": {"cpu": "100m", "memory": "192Mi"},
        },
        "breast-cancer": {
            "versions": {"1": {}},
            "resources": SMALL,
        },
    }
    project = create_project(tmp_path_factory.mktemp("scaled"), "scaled", content)
    project.berth("up", "--yes")
    yield project
    cluster.delete_namespaces(_NAMESPACE)


@pytest.fixture(scope="module")
def image_digest(stack: Project) -> str:
    """Digest of the serving image of breast-cancer/1, so that tests can pin it."""
    image = stack.json("status")["models"]["breast-cancer"]["versions"]["1"]["image"]
    return str(image).partition("@")[2]


@pytest.fixture(scope="module", autouse=True)
def _image_digest_is_read_first(image_digest: str) -> None:
    """Read the digest before a test removes the model."""


def _count_ready(cluster: Cluster) -> int:
    status = cluster.get("deployment", "digits-1", "-n", _NAMESPACE)["status"]
    return int(status.get("readyReplicas", 0))


def _wait_for_ready(cluster: Cluster, deployment: str, replicas: int, *, seconds: float) -> None:
    condition = f"--for=jsonpath={{.status.readyReplicas}}={replicas}"
    cluster.wait_for(f"deployment/{deployment}", "-n", _NAMESPACE, condition, seconds=seconds)


def test_cold_version_has_no_replicas(stack: Project, cluster: Cluster) -> None:
    def read_versions() -> Any:
        return stack.json("status")["models"]["digits"]["versions"]

    # `up` waits for the first replica; the autoscaler then adds replicas up to the minimum.
    # After a test with load, the autoscaler removes replicas down to the minimum.
    _wait_for_ready(cluster, "digits-1", 2, seconds=300)
    assert read_versions()["1"]["replicas"] == "2/2"
    cold = read_versions()["2"]
    assert (cold["state"], cold["replicas"]) == ("cold", "0/0")


def test_node_drain_respects_the_disruption_budget(stack: Project, cluster: Cluster) -> None:
    """The only node drains: one replica is evicted and finds no other node, so the other stays."""
    poll(lambda: _count_ready(cluster) >= 2, seconds=60)
    load = create_load(stack)
    # Other namespaces have pods with the same model labels. Their template hash differs.
    (pod, *_) = cluster.get("pods", "-n", _NAMESPACE, "-l", "berth/model=digits")["items"]
    template_hash = pod["metadata"]["labels"]["pod-template-hash"]
    with load.running(clients=2):
        try:
            output = cluster.kubectl(
                "drain", "node-1", f"--pod-selector=pod-template-hash={template_hash}",
                "--timeout=20s", "--delete-emptydir-data", "--ignore-daemonsets", code=None,
            )  # fmt: skip
        finally:
            cluster.kubectl("uncordon", "node-1")
        assert "disruption budget" in output
        assert _count_ready(cluster) >= 1
        poll(lambda: _count_ready(cluster) >= 2, seconds=60)
    load.assert_no_failures()


def test_replicas_follow_the_load_up_and_down(stack: Project, cluster: Cluster) -> None:
    load = create_load(stack)
    load.pause_seconds = 0
    with load.running(clients=8):
        poll(lambda: _count_ready(cluster) > 2, seconds=180)
        # The autoscaler's replica count is not a change of the stack.
        stack.berth("preview", "--expect-no-changes")
    load.assert_no_failures()
    _wait_for_ready(cluster, "digits-1", 2, seconds=300)


_CUDA = """
import onnxruntime


class InferenceSession(onnxruntime.InferenceSession):
    def __init__(self, path, *, providers, **options):
        super().__init__(path, providers=["CPUExecutionProvider"], **options)
        self._names = [name for name, _ in providers]

    def get_providers(self):
        return self._names


onnxruntime.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
onnxruntime.InferenceSession = InferenceSession
"""


@pytest.fixture
def cuda_digest(cluster: Cluster, image_digest: str, tmp_path: Path) -> str:
    """Digest of the image of breast-cancer/1 with an ONNX Runtime that seems to have CUDA.

    The GPUs of the cluster's node are only numbers to its scheduler, so the program uses the CPU.
    """
    repository = Repository(name=f"{cluster.registry}/berth/breast-cancer", plain_http=True)
    layer = write_layer(
        {f"{layers.PROGRAMS}/sitecustomize.py": text_file(_CUDA)}, tmp_path / "layer"
    )
    manifest = json.loads(repository.manifest(image_digest).data)
    content = json.loads(repository.blob(manifest["config"]["digest"]).read_bytes())
    content["rootfs"]["diff_ids"].append(layer.diff_id)
    content["history"].append({"created_by": "cuda"})
    config = documents.encode_document(documents.CONFIG, content)
    added = {"mediaType": documents.LAYER, "digest": layer.digest, "size": layer.size}
    changed = manifest | {"config": config.descriptor, "layers": [*manifest["layers"], added]}
    image = documents.encode_document(documents.MANIFEST, changed)
    repository.push_file(layer.path, layer.digest)
    repository.push_document(config)
    repository.push_manifest(image)
    return image.digest


def test_update_replaces_a_berth_that_has_all_gpus(
    stack: Project, cluster: Cluster, cuda_digest: str
) -> None:
    """Its successor needs these GPUs, so it cannot start before the berth ends."""
    labels = ("-n", _NAMESPACE, "-l", "berth/model=breast-cancer")

    def deploy(memory: str) -> str:
        def change(config: Any) -> None:
            config["berth:models"]["breast-cancer"] = {
                "versions": {"1": {"image": cuda_digest}},
                "compute": "gpu",
                "resources": {**SMALL, "memory": memory, "gpu": 2},
            }

        stack.edit(change)
        stack.berth("up", "--yes")
        poll(lambda: len(cluster.list_names("pods", *labels)) == 1, seconds=60)
        (pod,) = cluster.get("pods", *labels)["items"]
        (container,) = pod["spec"]["containers"]
        limits = container["resources"]["limits"]
        assert (limits["nvidia.com/gpu"], limits["memory"]) == ("2", memory)
        return str(pod["metadata"]["uid"])

    assert deploy("200Mi") != deploy("201Mi")
    assert stack.json("status")["models"]["breast-cancer"]["versions"]["1"]["state"] == "ready"


def _require_gpus(stack: Project, image_digest: str) -> bool:
    """Configure three replicas with two GPUs each. Return whether that is a change."""
    before = read_config(stack)

    def change(config: Any) -> None:
        config["berth:kubernetes"]["gpu"] = {"node_selector": {"pool": "gpu"}}
        config["berth:models"]["breast-cancer"] = {
            # Pin the image, so that no CUDA image of several gigabytes is built for a fake node.
            "versions": {"1": {"image": image_digest}},
            "compute": "gpu",
            "replicas": {"min": 3, "max": 3},
            "resources": {"gpu": 2, "cpu": "50m", "memory": "192Mi"},
        }

    stack.edit(change)
    return read_config(stack) != before


@pytest.mark.runs_last
def test_gpu_berths_run_only_on_gpu_nodes_and_other_pods_elsewhere(
    stack: Project, cluster: Cluster, image_digest: str
) -> None:
    """The nodes are fake and the scheduler is real. The real node has GPUs, but no taint.

    GPU berths of other tests must run on the real node.
    """
    cluster.add_fake_nodes(
        "3", "--prefix", "gpu", "--gpu", "4", "--label", "pool=gpu",
        "--taint", "nvidia.com/gpu=present:NoSchedule",
    )  # fmt: skip
    # Remove the taint that marks the nodes as fake.
    cluster.kubectl("taint", "nodes", "-l", "pool=gpu", "kwok.x-k8s.io/node-")
    _require_gpus(stack, image_digest)
    stack.berth("up", "--yes", "--no-request")
    pods = [
        pod
        for pod in cluster.get("pods", "-n", _NAMESPACE)["items"]
        if "deletionTimestamp" not in pod["metadata"]
    ]
    nodes = {pod["metadata"]["name"]: pod["spec"].get("nodeName", "") for pod in pods}
    gpu_nodes = {name: node for name, node in nodes.items() if name.startswith("breast-cancer")}
    assert len(gpu_nodes) == 3
    assert all(node.startswith("gpu-") for node in gpu_nodes.values())
    assert all(node == "node-1" for name, node in nodes.items() if name not in gpu_nodes)
    (pod, *_) = [pod for pod in pods if pod["metadata"]["name"] in gpu_nodes]
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"


_NODE_GROUP = "accelerated"
_GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def _build_node_group() -> list[dict[str, Any]]:
    """Return an empty node group, as the cluster autoscaler sees a node pool with GPUs on AWS."""
    capacity = {"cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": "2"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": _NODE_GROUP,
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                "kubernetes.io/hostname": _NODE_GROUP,
                "pool": "gpu",
                "group": _NODE_GROUP,
                "nvidia.com/gpu.product": "H100",
            },
            "annotations": {
                f"cluster-autoscaler.kwok.nodegroup/{bound}-count": str(number)
                for bound, number in (("min", 0), ("max", 5), ("desired", 0))
            },
        },
        "spec": {"taints": [_GPU_TAINT]},
        "status": {
            "allocatable": capacity,
            "capacity": capacity,
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
        _build_config_map("kwok-provider-config", "config", settings),
        _build_config_map("kwok-provider-templates", "templates", nodes),
    ]


def _build_config_map(name: str, key: str, content: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": {key: json.dumps(content)},
    }


@contextmanager
def _run_cluster_autoscaler(cluster: Cluster, log: Path) -> Iterator[None]:
    """Run the real cluster autoscaler during the block. Its cloud is kwok's fake nodes."""
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


@pytest.mark.runs_last
def test_gpu_nodes_scale_up_from_zero_and_back_to_zero(
    stack: Project, cluster: Cluster, image_digest: str, tmp_path: Path
) -> None:
    """Pending GPU berths start nodes. Pods without GPUs do not keep them."""
    if shutil.which("cluster-autoscaler") is None:
        pytest.skip("the real `cluster-autoscaler`, which this test runs, is not on the PATH")

    def list_gpu_nodes() -> list[str]:
        return cluster.list_names("nodes", "-l", "pool=gpu")

    cluster.kubectl("delete", "nodes", "-l", "pool=gpu")
    cluster.apply(*_build_node_group())
    with _run_cluster_autoscaler(cluster, tmp_path / "autoscaler.log"):
        if _require_gpus(stack, image_digest):
            stack.berth("up", "--yes", "--no-request")
        # Three berths with two GPUs each, on nodes that have two GPUs.
        poll(lambda: len(list_gpu_nodes()) == 3, seconds=120)
        _wait_for_ready(cluster, "breast-cancer-1", 3, seconds=60)
        stack.edit(lambda config: config["berth:models"].pop("breast-cancer"))
        stack.berth("up", "--yes", "--no-request")
        poll(lambda: list_gpu_nodes() == [], seconds=120)
