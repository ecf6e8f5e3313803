"""One cluster for all of these tests, and one stack on it that most of them share."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster, start, why_not
from tests.engine.project import Project


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    # Each test process has its own cluster. The path is short: a socket's path has 107 bytes.
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    folder = Path(f"/tmp/berth-test-cluster-{number}")
    name, net = f"berth-test{number}", f"10.{118 + number}"
    try:
        found = start(folder, "--kwok", "--gpus", "2", name=name, net=net)
    except AssertionError as error:
        pytest.skip(f"no cluster can be had here: {str(error)[-2000:]}")
    yield found
    found.down()


def stack_file(cluster: Cluster, namespace: str, **changes: Any) -> dict[str, Any]:
    """The configuration of a small stack on `cluster`."""
    small = {"cpu": "100m", "memory": "192Mi"}
    config: dict[str, Any] = {
        "platform": "kubernetes",
        "models": {
            "digits": {
                "versions": {"1": {}, "2": {}},
                "traffic": {"1": 90, "2": 10},
                "resources": small,
            },
            "breast-cancer": {"versions": {"1": {}}, "resources": small},
        },
        "registry": {"url": f"{cluster.registry}/berth", "plain_http": True},
        "gateway": {
            "clients": {
                "default": {"rate_per_second": 100000, "burst": 100000},
                "slow": {"rate_per_second": 1, "burst": 5},
                "few": {"quota": {"requests": 3, "period": "month"}},
            }
        },
        "kubernetes": {
            "kubeconfig": str(cluster.kubeconfig),
            "namespace": namespace,
            "controller_image": cluster.traefik,
            "ready_timeout_seconds": 60,
        },
    }
    return {"config": {f"berth:{key}": value for key, value in (config | changes).items()}}


def new_project(folder: Path, stack: str, content: dict[str, Any]) -> Project:
    """A project whose stack `stack` has this configuration (JSON is YAML)."""
    project = Project.copy_to(folder, stack)
    (folder / f"Pulumi.{stack}.yaml").write_text(json.dumps(content, indent=1))
    return project


@pytest.fixture(scope="session")
def hosted(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A stack that is up; tests that change it put back what they changed.

    The one that is destroyed at the end, and leaves nothing; other stacks end with the cluster.
    """
    project = new_project(
        tmp_path_factory.mktemp("hosted"), "hosted", stack_file(cluster, "hosted")
    )
    project.berth("up", "--yes")
    yield project
    project.berth("destroy", "--yes")
    left = cluster.run("get", "all,httproutes,gateways,middlewares", "-n", "hosted", code=None)
    assert "No resources found" in left
    assert "hosted" not in cluster.run("get", "namespaces,clusterroles,gatewayclasses", "-A")
