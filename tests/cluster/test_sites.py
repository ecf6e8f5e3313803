"""Tests of edge sites: other clusters with the same images, one of which may be unreachable."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.stacks import SMALL, build_stack_file, create_project
from tests.engine.project import Project, wait_for

_NAMESPACE = "center"
_SITES = ("east", "west")


@dataclass(frozen=True)
class Sites:
    """A stack with two sites on one cluster. Each site has its own kubeconfig and namespace."""

    stack: Project
    cluster: Cluster
    kubeconfigs: dict[str, Path]

    def connect(self, site: str) -> None:
        self.kubeconfigs[site].write_text(self.cluster.kubeconfig.read_text())

    def disconnect(self, site: str) -> None:
        kubeconfig = self.cluster.kubeconfig.read_text()
        unreachable = kubeconfig.replace(f"{self.cluster.node}:6443", "127.0.0.1:1")
        self.kubeconfigs[site].write_text(unreachable)

    def read_images(self, namespace: str) -> dict[str, str]:
        """Return the image of each berth in a namespace."""
        selector = "app.kubernetes.io/name=berth"
        deployments = self.cluster.get("deployments", "-n", namespace, "-l", selector)
        return {
            item["metadata"]["name"]: item["spec"]["template"]["spec"]["containers"][0]["image"]
            for item in deployments["items"]
        }

    def set_version(self, version: str) -> None:
        self.stack.edit(
            lambda config: config["berth:models"]["digits"].update(
                versions={version: {}}, traffic={version: 100}
            )
        )

    def configure(self, *sites: str) -> None:
        """Write a configuration that deploys digits/1 to these sites."""
        self.set_version("1")
        config = {
            site: {
                "kubeconfig": str(self.kubeconfigs[site]),
                "namespace": site,
                "models": ["digits"],
            }
            for site in sites
        }
        self.stack.edit(lambda document: document.update({"berth:edge": {"sites": config}}))

    def deploy_only_east(self) -> str:
        """Deploy with an unreachable site west that has no resources. Return the error output."""
        if self.read_images("west"):
            self.connect("west")
            self.configure("east")
            self.stack.berth("up", "--yes")
        self.configure(*_SITES)
        self.disconnect("west")
        return self.stack.berth("up", "--yes", code=1).stderr

    def deploy_all(self) -> None:
        """Deploy digits/1 to all sites, unless this is the current state."""
        self.configure(*_SITES)
        self.connect("west")
        if any("digits-1" not in self.read_images(name) for name in (_NAMESPACE, *_SITES)):
            self.stack.berth("up", "--yes")


@pytest.fixture(scope="module")
def sites(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    kubeconfig_dir = tmp_path_factory.mktemp("sites")
    content = build_stack_file(cluster, _NAMESPACE)
    content["config"]["berth:models"] = {
        name: {"versions": {"1": {}}, "resources": SMALL} for name in ("digits", "breast-cancer")
    }
    yield Sites(
        stack=create_project(tmp_path_factory.mktemp("center"), "center", content),
        cluster=cluster,
        kubeconfigs={site: kubeconfig_dir / site for site in _SITES},
    )
    cluster.delete_namespaces(_NAMESPACE, *_SITES)


def test_unreachable_site_is_skipped_and_the_rest_is_deployed(sites: Sites) -> None:
    sites.connect("east")
    output = sites.deploy_only_east()
    assert "site west" in output
    assert "berth:edge.sites.west: the cluster at" in output
    assert sites.stack.json("invoke", "digits")["model_version"] == "1"
    assert sites.read_images("east")["digits-1"] == sites.read_images(_NAMESPACE)["digits-1"]
    assert sites.read_images("west") == {}


def test_next_up_deploys_a_site_that_is_reachable_again(sites: Sites) -> None:
    sites.connect("east")
    if sites.read_images("west") or not sites.read_images("east"):
        sites.deploy_only_east()
    sites.connect("west")
    sites.stack.berth("up", "--yes")
    assert sites.read_images("west") == sites.read_images("east")
    sites.stack.berth("preview", "--expect-no-changes")


def test_disconnected_site_keeps_its_berths_until_the_next_up(sites: Sites) -> None:
    sites.connect("east")
    sites.deploy_all()
    before = sites.read_images("west")
    sites.disconnect("west")
    sites.set_version("2")
    sites.stack.berth("up", "--yes", code=1)
    assert "digits-2" in sites.read_images("east")
    assert sites.read_images("west") == before
    # The old version is removed once every site is reachable.
    sites.connect("west")
    sites.stack.berth("up", "--yes")
    expected = {_NAMESPACE: {"digits-2", "breast-cancer-1"}, "east": {"digits-2"}}
    expected["west"] = expected["east"]
    for namespace, berths in expected.items():
        _wait_for_berths(sites, namespace, berths)
    assert sites.read_images("west") == sites.read_images("east")


def _wait_for_berths(sites: Sites, namespace: str, berths: set[str]) -> Any:
    return wait_for(lambda: set(sites.read_images(namespace)) == berths)
