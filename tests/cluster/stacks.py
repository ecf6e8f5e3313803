"""Fixtures: one cluster for all test processes, and one stack on it that most tests share."""

import copy
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from berth_protocol.model_card import read_card
from pulumi_berth.files import acquire_lock
from tests.bitmap_model import BITMAPS, package_bitmap_model
from tests.cluster.cluster import Cluster, find_missing_requirement, start_cluster
from tests.cluster.operator_definitions import install_definitions
from tests.engine.project import SAVE_STATE_ONCE, Load, Project
from tests.text_models import SENTENCES, UPPER, package_text_models

NAMESPACE = "hosted"
"""Namespace of the stack of fixture `hosted`."""
SMALL = {"cpu": "50m", "cpu_limit": "1", "memory": "192Mi"}
"""Resources of a berth. At its start, it uses more than a second of CPU time."""
# The variables of the `cluster` command, so that two checkouts can run these tests at once.
# Not in pytest's directory: the path of a socket is limited to 107 characters.
_STATE_DIR = Path(os.environ.get("CLUSTER_DIR", "/tmp/berth-test-cluster"))
_NAME = os.environ.get("CLUSTER_NAME", "berth-test")
_NET = os.environ.get("CLUSTER_NET", "10.118")
_USERS = "cluster-users"
"""Directory with a file for each process of a run that uses the cluster."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster, which the first process that needs it starts, and the last one stops."""
    if reason := find_missing_requirement():
        pytest.skip(reason)
    # pytest gives each process its own directory in that of the run.
    run = tmp_path_factory.getbasetemp()
    users = (run.parent if "PYTEST_XDIST_WORKER" in os.environ else run) / _USERS
    users.mkdir(exist_ok=True)
    user = users / str(os.getpid())
    with acquire_lock(users.with_suffix(".lock")):
        try:
            running = _join_cluster() if any(users.iterdir()) else _start_cluster()
        except AssertionError as error:
            pytest.skip(f"the cluster cannot start on this machine: {str(error)[-2000:]}")
        user.touch()
    yield running
    with acquire_lock(users.with_suffix(".lock")):
        user.unlink()
        if not any(users.iterdir()):
            running.stop()


def stop_cluster_of(run: Path) -> None:
    """Stop the cluster that an interrupted run of tests left.

    Args:
        run: The temporary directory of the run. No other process of it runs.
    """
    users = run / _USERS
    if users.is_dir() and any(users.iterdir()):
        _join_cluster().stop()


def _start_cluster() -> Cluster:
    if _STATE_DIR.exists():  # An earlier run of these tests was killed.
        _join_cluster().stop()
    cluster = start_cluster(_STATE_DIR, "--kwok", "--gpus", "2", name=_NAME, net=_NET)
    # Before any stack: with the operator, Berth declares objects for it in each of them.
    install_definitions(cluster)
    return cluster


def _join_cluster() -> Cluster:
    return Cluster(_STATE_DIR, registry=f"{_NET}.0.2:5000", node=f"{_NET}.0.2")


def build_stack_file(
    cluster: Cluster, namespace: str, *, replicas: int = 1, **changes: Any
) -> dict[str, Any]:
    """Return the configuration of a small stack on the cluster.

    Args:
        replicas: Pods of the gateway and of the ingress controller. Several stacks with two of each
            need more than the two CPUs that a node may have.
        changes: Sections that replace those of the small stack.
    """
    config: dict[str, Any] = {
        "platform": "kubernetes",
        "models": {
            "digits": {
                "versions": {"1": {}, "2": {}},
                "traffic": {"1": 90, "2": 10},
                "resources": SMALL,
            },
            "breast-cancer": {"versions": {"1": {}}, "resources": SMALL},
        },
        "registry": {"url": f"{cluster.registry}/berth", "plain_http": True},
        "gateway": {
            "replicas": replicas,
            "clients": {
                "default": {"rate_per_second": 100000, "burst": 100000},
                "slow": {"rate_per_second": 1, "burst": 5},
                "few": {"quota": {"requests": 3, "period": "month"}},
                "counted": {"quota": {"requests": 5, "period": "month"}},
            },
        },
        "kubernetes": {
            "kubeconfig": str(cluster.kubeconfig),
            "namespace": namespace,
            "controller_image": cluster.traefik_image,
            "controller_replicas": replicas,
            "ready_timeout_seconds": 180,
        },
    }
    return {"config": {f"berth:{key}": value for key, value in (config | changes).items()}}


def create_project(root: Path, stack: str, content: dict[str, Any]) -> Project:
    """Create a project with one stack and its configuration. JSON is valid YAML."""
    project = Project.copy_to(root, stack)
    project.environment |= SAVE_STATE_ONCE
    (root / f"Pulumi.{stack}.yaml").write_text(json.dumps(content, indent=1))
    return project


def read_config(project: Project) -> dict[str, Any]:
    """Return the configuration of the project's stack."""
    content = YAML(typ="safe", pure=True).load(_get_stack_file(project).read_text())
    config: dict[str, Any] = content["config"]
    return config


@contextmanager
def restore_config(project: Project) -> Iterator[None]:
    """Restore the stack's configuration after the block, and deploy it if the block changed it.

    Also if the block fails, because other tests use the stack.
    """
    before = copy.deepcopy(read_config(project))
    text = _get_stack_file(project).read_text()
    try:
        yield
    finally:
        if read_config(project) != before:
            _get_stack_file(project).write_text(text)
            project.berth("up", "--yes")


def create_load(project: Project, path: str = "/v2/models/digits/infer") -> Load:
    """Return a load generator that sends the example request of digits/1 to the stack."""
    request = read_card(project.root / "models" / "digits" / "1").example
    return Load(
        endpoint=project.json("status")["endpoint"],
        headers={"x-api-key": project.key(), "content-type": "application/json"},
        path=path,
        body=json.dumps(request).encode(),
    )


def count_requests(cluster: Cluster, namespace: str, version: str) -> float:
    """Return the number of requests that a berth of digits has processed, from its own metrics."""
    service = f"/api/v1/namespaces/{namespace}/services/digits-{version}:metrics/proxy"
    lines = cluster.kubectl("get", "--raw", f"{service}/metrics").splitlines()
    return sum(
        float(line.rpartition(" ")[2]) for line in lines if line.startswith("berth_requests_total{")
    )


def _get_stack_file(project: Project) -> Path:
    return project.root / f"Pulumi.{project.stack}.yaml"


@pytest.fixture(scope="session")
def hosted(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A deployed stack. A test that changes it restores its configuration.

    After the tests, the stack is destroyed and must leave no resource. Stacks of single modules
    end with the cluster.
    """
    content = build_stack_file(cluster, NAMESPACE, replicas=2)
    for name in (SENTENCES, UPPER, BITMAPS):
        content["config"]["berth:models"][name] = {"versions": {"1": {}}, "resources": SMALL}
    project = create_project(tmp_path_factory.mktemp("hosted"), "hosted", content)
    package_text_models(project.root / "models", tmp_path_factory.mktemp("text"))
    package_bitmap_model(project.root / "models")
    project.berth("up", "--yes")
    yield project
    project.berth("destroy", "--yes")
    kinds = "all,httproutes,gateways,middlewares"
    assert "No resources found" in cluster.kubectl("get", kinds, "-n", NAMESPACE, code=None)
    assert NAMESPACE not in cluster.kubectl("get", "namespaces,clusterroles,gatewayclasses", "-A")
