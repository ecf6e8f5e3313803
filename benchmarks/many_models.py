"""A stack of many models for fake nodes: each model has ten versions, copies of one real version.

The serving image is pinned, so that no image is built. Fake nodes pull no image. Berths run only on
fake nodes and gateway pods only on the real node, because only fake nodes have GPUs, and only
berths tolerate their taint.
"""

import json
import shutil
from typing import Any

import yaml

from tests.cluster.cluster import Cluster
from tests.engine.project import Project

NODES = 200
VERSIONS = 10
_GPUS_PER_NODE = 8
_TAINT = "kwok.x-k8s.io/node"
_READY_SECONDS = 900
_ORIGINAL = "digits"
_RESOURCES = {"cpu": "100m", "memory": "192Mi"}


def add_nodes(cluster: Cluster) -> None:
    """Add the fake nodes, which have capacity for 1,600 berths."""
    cluster.add_fake_nodes(str(NODES), "--prefix", "fake", "--gpu", str(_GPUS_PER_NODE))


def configure_one_model(cluster: Cluster) -> dict[str, Any]:
    """Return a stack file with one berth on the real node, whose image is built."""
    models = {_ORIGINAL: {"versions": {"1": {}}, "resources": _RESOURCES}}
    return _build_stack_file(cluster, "one", models)


def configure_many_models(cluster: Cluster, berths: int, image: str) -> dict[str, Any]:
    """Return a stack file with `berths` berths that run the serving image with digest `image`."""
    entry = {"image": image}
    versions = [str(number + 1) for number in range(VERSIONS)]
    model = {
        "versions": dict.fromkeys(versions, entry),
        "traffic": dict.fromkeys(versions, 100 // VERSIONS),
        "compute": "gpu",
        "resources": {**_RESOURCES, "gpu": 1},
    }
    models = dict.fromkeys(list_model_names(berths), model)
    return _build_stack_file(cluster, f"many-{berths}", models)


def write_stack_file(project: Project, content: dict[str, Any]) -> None:
    """Write the configuration of the project's stack. JSON is valid YAML."""
    path = project.root / f"Pulumi.{project.stack}.yaml"
    path.write_text(json.dumps(content, indent=1))


def change_weights(config: Any) -> None:
    """Move nearly all of one version's share of the first model to another version."""
    first = next(iter(config["berth:models"].values()))
    first["traffic"] |= {"1": 19, "2": 1}


def add_models(project: Project, berths: int) -> None:
    """Create the directories of the versions: the original's files, and its card with new names."""
    original = project.root / "models" / _ORIGINAL / "1"
    card = yaml.safe_load((original / "model.yaml").read_text())
    for name in list_model_names(berths):
        for version in range(1, VERSIONS + 1):
            directory = project.root / "models" / name / str(version)
            shutil.copytree(original, directory)
            version_card = {**card, "name": name, "version": str(version)}
            (directory / "model.yaml").write_text(yaml.safe_dump(version_card, sort_keys=False))


def list_model_names(berths: int) -> list[str]:
    return [f"model-{number:03}" for number in range(berths // VERSIONS)]


def _build_stack_file(cluster: Cluster, namespace: str, models: dict[str, Any]) -> dict[str, Any]:
    config = {
        "platform": "kubernetes",
        "models": models,
        "registry": {"url": f"{cluster.registry}/berth", "plain_http": True},
        "kubernetes": {
            "kubeconfig": str(cluster.kubeconfig),
            "namespace": namespace,
            "controller_image": cluster.traefik_image,
            "ready_timeout_seconds": _READY_SECONDS,
            "gpu": {"taint": _TAINT},
        },
    }
    return {"config": {f"berth:{key}": value for key, value in config.items()}}
