"""Tests of ownership: a stack neither uses nor deletes what belongs to someone else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.stacks import NAMESPACE, SMALL, build_stack_file, create_project
from tests.engine.project import Project

_CLUSTER_SCOPED = "clusterroles,clusterrolebindings,priorityclasses,gatewayclasses"
_TEAM = "team"
_ONE_MODEL = {"digits": {"versions": {"1": {}}, "resources": SMALL}}


def _create(root: Path, cluster: Cluster, namespace: str, **kubernetes: Any) -> Project:
    content = build_stack_file(cluster, namespace, models=_ONE_MODEL)
    content["config"]["berth:kubernetes"] |= kubernetes
    return create_project(root, "hosted", content)


def _set_namespace(project: Project, **kubernetes: Any) -> None:
    project.edit(lambda config: config["berth:kubernetes"].update(kubernetes))


def _list_cluster_scoped(cluster: Cluster, namespace: str) -> list[str]:
    names = cluster.list_names(_CLUSTER_SCOPED)
    return sorted(name for name in names if name.startswith(f"berth-{namespace}-"))


@pytest.fixture
def team(cluster: Cluster) -> Iterator[str]:
    """A namespace in which someone else runs a Deployment, with a Secret."""
    metadata = {"name": "web", "namespace": _TEAM}
    labels = {"app": "web"}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _TEAM}},
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {
                "replicas": 0, "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "web", "image": "web"}]},
                },
            },
        },
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"a": "b"}},
    )  # fmt: skip
    yield _TEAM
    # The next test creates it again.
    cluster.kubectl("delete", "namespace", _TEAM, "--wait=true")


def test_stack_of_the_same_name_with_other_state_changes_nothing(
    hosted: Project, cluster: Cluster, tmp_path: Path
) -> None:
    before = _list_cluster_scoped(cluster, NAMESPACE)
    assert len(before) == 6
    other = _create(tmp_path, cluster, NAMESPACE)
    error = other.berth("up", "--yes", code=2).stderr
    assert "belongs to another stack 'hosted' of project 'berth'" in error
    assert "Nothing was changed" in error

    # The state of a backend that only the engine reads is checked in the preview.
    (tmp_path / "state").mkdir()
    other.environment["PULUMI_BACKEND_URL"] = f"file://{tmp_path / 'state'}?no_tmp_dir=true"
    output = other.berth("up", "--yes", code=1)
    assert "belongs to another stack 'hosted'" in output.stdout + output.stderr
    other.berth("destroy", "--yes")
    assert _list_cluster_scoped(cluster, NAMESPACE) == before
    hosted.berth("invoke", "digits")


def test_namespace_of_someone_else_is_kept(cluster: Cluster, team: str, tmp_path: Path) -> None:
    project = _create(tmp_path, cluster, team)
    error = project.berth("up", "--yes", code=2).stderr
    assert "contains Deployment 'web', Secret 'web'" in error
    assert "adopt_namespace" in error
    assert cluster.list_names("networkpolicies", "-n", team) == []

    _set_namespace(project, adopt_namespace=True)
    project.berth("up", "--yes")
    policies = {
        policy["metadata"]["name"]: policy["spec"]["podSelector"]
        for policy in cluster.get("networkpolicies", "-n", team)["items"]
    }
    assert policies["default-deny"] == {"matchLabels": {"app.kubernetes.io/part-of": "berth"}}
    project.berth("preview", "--expect-no-changes")
    _set_namespace(project, adopt_namespace=False)
    output = project.berth("up", "--yes", code=1)
    assert "must stay true" in output.stdout + output.stderr
    _set_namespace(project, adopt_namespace=True)

    project.berth("destroy", "--yes")
    assert cluster.list_names("deployments", "-n", team) == ["web"]
    assert cluster.list_names("secrets", "-n", team) == ["web"]
    assert cluster.list_names("networkpolicies", "-n", team) == []
    metadata = cluster.get("namespace", team)["metadata"]
    assert "berth/owner" not in (metadata.get("annotations") or {})
    assert _list_cluster_scoped(cluster, team) == []


def test_object_of_someone_else_with_a_name_of_the_stack_is_kept(
    cluster: Cluster, team: str, tmp_path: Path
) -> None:
    service = {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "gateway", "namespace": team},
        "spec": {"ports": [{"port": 1}]},
    }  # fmt: skip
    cluster.apply(service)
    project = _create(tmp_path, cluster, team, adopt_namespace=True)
    error = project.berth("up", "--yes", code=2).stderr
    assert "already contains Service 'gateway'" in error


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease", "default"])
def test_namespaces_of_the_cluster_are_refused(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    project = _create(tmp_path, cluster, namespace, adopt_namespace=True)
    error = project.berth("up", "--yes", code=2).stderr
    assert "kubernetes.namespace" in error
    assert namespace in error


def test_destroy_keeps_the_namespace_of_another_stack(hosted: Project, cluster: Cluster) -> None:
    annotation = cluster.get("namespace", NAMESPACE)["metadata"]["annotations"]["berth/owner"]
    cluster.kubectl(
        "annotate", "namespace", NAMESPACE, "berth/owner=other/prod/0123", "--overwrite"
    )
    try:
        error = hosted.berth("destroy", "--yes", code=2).stderr
        assert "belongs to stack 'prod' of project 'other'" in error
    finally:
        cluster.kubectl(
            "annotate", "namespace", NAMESPACE, f"berth/owner={annotation}", "--overwrite"
        )
    hosted.berth("invoke", "digits")


def test_plain_pulumi_destroy_deletes_only_what_the_stack_created(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The engine is called directly, so only the stack's own resources can protect others."""
    namespace = "shared"
    project = _create(tmp_path, cluster, namespace)
    project.berth("up", "--yes", "--no-request")
    _check_plain_destroy(project, cluster, namespace)


def _check_plain_destroy(project: Project, cluster: Cluster, namespace: str) -> None:
    read_only = {"apiVersion": "v1", "metadata": {"name": "prices", "namespace": namespace}}
    volume = {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
        "resources": {"requests": {"storage": "1Gi"}},
    }  # fmt: skip
    route = {
        "apiVersion": "traefik.io/v1alpha1", "kind": "ServersTransport",
        "metadata": {"name": "tls", "namespace": namespace}, "spec": {},
    }  # fmt: skip
    cluster.apply(
        {**read_only, "kind": "ConfigMap", "data": {"a": "b"}},
        {**read_only, "kind": "PersistentVolumeClaim", "spec": volume},
        route,
    )
    annotation = cluster.get("namespace", namespace)["metadata"]["annotations"]["berth/owner"]
    annotate = ("annotate", "namespace", namespace, "--overwrite")
    deployments = cluster.list_names("deployments", "-n", namespace)

    cluster.kubectl(*annotate, "berth/owner=other/prod/0123")
    refused = project.pulumi("destroy", "--yes", "--skip-preview", code=None)
    assert refused.returncode != 0
    assert "belongs to stack 'prod' of project 'other'" in refused.stdout + refused.stderr
    assert cluster.list_names("deployments", "-n", namespace) == deployments

    cluster.kubectl(*annotate, f"berth/owner={annotation}")
    destroyed = project.pulumi("destroy", "--yes", "--skip-preview")
    output = destroyed.stdout + destroyed.stderr
    assert f"Namespace '{namespace}' was kept" in output
    for name in (
        "ConfigMap 'prices'", "PersistentVolumeClaim 'prices'", "ServersTransport 'tls'",
    ):  # fmt: skip
        assert name in output
    assert cluster.list_names("deployments,services,networkpolicies", "-n", namespace) == []
    assert "prices" in cluster.list_names("configmaps", "-n", namespace)
    assert "berth/owner" not in cluster.get("namespace", namespace)["metadata"]["annotations"]
    assert "was not created by this stack" in project.berth("up", "--yes", code=2).stderr
    cluster.delete_namespaces(namespace)
