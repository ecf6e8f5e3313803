"""Edge sites: further clusters with the same images, of which one may not answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.stacks import new_project, stack_file
from tests.engine.project import Project, eventually

_SITES = ("east", "west")


@pytest.fixture(scope="module")
def kubeconfigs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One cluster stands for three: each site has a kubeconfig and a namespace of its own."""
    folder = tmp_path_factory.mktemp("sites")
    found = {site: folder / site for site in _SITES}
    for path in found.values():
        path.write_text(cluster.kubeconfig.read_text())
    return found


@pytest.fixture(scope="module")
def stack(
    cluster: Cluster, kubeconfigs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    content = stack_file(cluster, "center")
    config = content["config"]
    small = {"cpu": "50m", "memory": "192Mi"}
    config["berth:models"] = {
        name: {"versions": {"1": {}}, "resources": small} for name in ("digits", "breast-cancer")
    }
    config["berth:edge"] = {
        "sites": {
            site: {"kubeconfig": str(path), "namespace": site, "models": ["digits"]}
            for site, path in kubeconfigs.items()
        }
    }
    yield new_project(tmp_path_factory.mktemp("center"), "center", content)
    cluster.drop("center", *_SITES)


def _cut_off(cluster: Cluster, path: Path) -> None:
    path.write_text(cluster.kubeconfig.read_text().replace(f"{cluster.node}:6443", "127.0.0.1:1"))


def _images(cluster: Cluster, namespace: str) -> dict[str, str]:
    found = cluster.get("deployments", "-n", namespace, "-l", "app.kubernetes.io/name=berth")
    return {
        item["metadata"]["name"]: item["spec"]["template"]["spec"]["containers"][0]["image"]
        for item in found["items"]
    }


def test_a_site_that_does_not_answer_fails_alone(
    stack: Project, cluster: Cluster, kubeconfigs: dict[str, Path]
) -> None:
    _cut_off(cluster, kubeconfigs["west"])
    said = stack.berth("up", "--yes", code=1).stderr
    assert "site west is left as it is: berth:edge.sites.west: the cluster at" in said
    assert stack.json("invoke", "digits")["model_version"] == "1"
    assert _images(cluster, "east")["digits-1"] == _images(cluster, "center")["digits-1"]
    assert _images(cluster, "west") == {}


def test_once_it_answers_the_same_command_does_the_rest(
    stack: Project, cluster: Cluster, kubeconfigs: dict[str, Path]
) -> None:
    kubeconfigs["west"].write_text(cluster.kubeconfig.read_text())
    stack.berth("up", "--yes")
    assert _images(cluster, "west") == _images(cluster, "east")
    stack.berth("preview", "--expect-no-changes")


def test_a_site_that_is_cut_off_keeps_what_it_runs(
    stack: Project, cluster: Cluster, kubeconfigs: dict[str, Path]
) -> None:
    before = _images(cluster, "west")
    _cut_off(cluster, kubeconfigs["west"])
    stack.edit(
        lambda config: config["berth:models"]["digits"].update(
            versions={"2": {}}, traffic={"2": 100}
        )
    )
    stack.berth("up", "--yes", code=1)
    assert "digits-2" in _images(cluster, "east")
    assert _images(cluster, "west") == before
    # What is no longer wanted goes once every site answers.
    kubeconfigs["west"].write_text(cluster.kubeconfig.read_text())
    stack.berth("up", "--yes")
    for site in ("center", *_SITES):
        eventually(lambda site=site: set(_images(cluster, site)) == {"digits-2", *_other(site)})
    assert _images(cluster, "west") == _images(cluster, "east")


def _other(site: str) -> set[str]:
    """The model that only the stack's own cluster runs."""
    return {"breast-cancer-1"} if site == "center" else set()
