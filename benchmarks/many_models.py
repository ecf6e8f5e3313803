"""A stack of many models for fake nodes: each model has ten versions, copies of one real version.

The serving image is pinned, so that none is built; a fake node pulls none. That berths come to the
fake nodes alone, and the gateway's pods to the real one alone, is said as for graphics processors:
only fake nodes have some, and only berths bear with the fake nodes' taint.
"""

import json
import shutil
from typing import Any

import yaml

from tests.cluster.cluster import Cluster
from tests.engine.project import Project

NODES = 200
VERSIONS = 10
_GPUS_OF_A_NODE = 8
_TAINT = "kwok.x-k8s.io/node"
_READY_SECONDS = 900
_ORIGINAL = "digits"


def add_nodes(cluster: Cluster) -> None:
    """The fake nodes, with room for 1,600 berths."""
    cluster.nodes(str(NODES), "--prefix", "fake", "--gpu", str(_GPUS_OF_A_NODE))


def one_model(cluster: Cluster) -> dict[str, Any]:
    """One real berth on the real node, whose image is built."""
    small = {"cpu": "100m", "memory": "192Mi"}
    models = {_ORIGINAL: {"versions": {"1": {}}, "resources": small}}
    return _stack_file(cluster, "one", models)


def many_models(cluster: Cluster, berths: int, image: str) -> dict[str, Any]:
    """`berths` berths that run `image`, the digest of a serving image."""
    entry = {"image": image}
    versions = [str(number + 1) for number in range(VERSIONS)]
    model = {
        "versions": dict.fromkeys(versions, entry),
        "traffic": dict.fromkeys(versions, 100 // VERSIONS),
        "compute": "gpu",
        "resources": {"cpu": "100m", "memory": "192Mi", "gpu": 1},
    }
    return _stack_file(cluster, f"many-{berths}", dict.fromkeys(model_names(berths), model))


def write_stack_file(project: Project, content: dict[str, Any]) -> None:
    """What the project's stack shall be (JSON is YAML)."""
    path = project.root / f"Pulumi.{project.stack}.yaml"
    path.write_text(json.dumps(content, indent=1))


def change_weights(config: Any) -> None:
    """Give nearly all of one version's share of the first model to another."""
    first = next(iter(config["berth:models"].values()))
    first["traffic"] |= {"1": 19, "2": 1}


def add_models(project: Project, berths: int) -> None:
    """The folders of the versions: the original's files, and its card with another name."""
    original = project.root / "models" / _ORIGINAL / "1"
    card = yaml.safe_load((original / "model.yaml").read_text())
    for name in model_names(berths):
        for version in range(1, VERSIONS + 1):
            folder = project.root / "models" / name / str(version)
            shutil.copytree(original, folder)
            own = {**card, "name": name, "version": str(version)}
            (folder / "model.yaml").write_text(yaml.safe_dump(own, sort_keys=False))


def model_names(berths: int) -> list[str]:
    return [f"model-{number:03}" for number in range(berths // VERSIONS)]


def _stack_file(cluster: Cluster, namespace: str, models: dict[str, Any]) -> dict[str, Any]:
    config = {
        "platform": "kubernetes",
        "models": models,
        "registry": {"url": f"{cluster.registry}/berth", "plain_http": True},
        "kubernetes": {
            "kubeconfig": str(cluster.kubeconfig),
            "namespace": namespace,
            "controller_image": cluster.traefik,
            "ready_timeout_seconds": _READY_SECONDS,
            "gpu": {"taint": _TAINT},
        },
    }
    return {"config": {f"berth:{key}": value for key, value in config.items()}}
