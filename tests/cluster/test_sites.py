"""Tests of edge sites: other clusters with the same images, one of which may be unreachable.

Each test needs what the fixtures before its own one deployed, whatever the order of the tests. An
update of three namespaces is the longest of all tests with a cluster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Deployed:
    """What an update deployed.

    Attributes:
        error: Error output of `berth up`.
        images: Image of each berth, per namespace.
        version: Version of digits that responded afterwards.
    """

    error: str
    images: dict[str, dict[str, str]]
    version: str


def _up(sites: Sites, *, code: int = 0) -> Deployed:
    error = sites.stack.berth("up", "--yes", code=code).stderr
    return Deployed(
        error=error,
        images={name: sites.read_images(name) for name in (_NAMESPACE, *_SITES)},
        version=sites.stack.json("invoke", "digits")["model_version"],
    )


@pytest.fixture(scope="module")
def sites(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    kubeconfig_dir = tmp_path_factory.mktemp("sites")
    kubeconfigs = {site: kubeconfig_dir / site for site in _SITES}
    content = build_stack_file(cluster, _NAMESPACE)
    content["config"]["berth:models"] = {
        name: {"versions": {"1": {}}, "resources": SMALL} for name in ("digits", "breast-cancer")
    }
    content["config"]["berth:edge"] = {
        "sites": {
            site: {"kubeconfig": str(kubeconfigs[site]), "namespace": site, "models": ["digits"]}
            for site in _SITES
        }
    }
    yield Sites(
        stack=create_project(tmp_path_factory.mktemp("center"), "center", content),
        cluster=cluster,
        kubeconfigs=kubeconfigs,
    )
    cluster.delete_namespaces(_NAMESPACE, *_SITES)


@pytest.fixture(scope="module")
def without_west(sites: Sites) -> Deployed:
    """The first update, while site west, which has no resources yet, is unreachable."""
    sites.connect("east")
    sites.disconnect("west")
    return _up(sites, code=1)


@pytest.fixture(scope="module")
def with_west(sites: Sites, without_west: Deployed) -> Deployed:
    """The next update, while both sites are reachable. It has no changes left."""
    assert without_west.images["west"] == {}
    sites.connect("west")
    deployed = _up(sites)
    sites.stack.berth("preview", "--expect-no-changes")
    return deployed


@pytest.fixture(scope="module")
def version_2_without_west(sites: Sites, with_west: Deployed) -> Deployed:
    """An update to version 2 while site west, which has version 1, is unreachable."""
    assert with_west.images["west"]
    sites.disconnect("west")
    sites.set_version("2")
    return _up(sites, code=1)


def test_unreachable_site_is_skipped_and_the_rest_is_deployed(without_west: Deployed) -> None:
    assert "site west" in without_west.error
    assert "berth:edge.sites.west: the cluster at" in without_west.error
    assert without_west.version == "1"
    images = without_west.images
    assert images["east"]["digits-1"] == images[_NAMESPACE]["digits-1"]
    assert images["west"] == {}


def test_next_up_deploys_a_site_that_is_reachable_again(with_west: Deployed) -> None:
    assert with_west.images["west"]
    assert with_west.images["west"] == with_west.images["east"]


def test_disconnected_site_keeps_its_berths_until_the_next_up(
    sites: Sites, with_west: Deployed, version_2_without_west: Deployed
) -> None:
    assert "digits-2" in version_2_without_west.images["east"]
    assert version_2_without_west.images["west"] == with_west.images["west"]
    # The old version is removed once every site is reachable.
    sites.connect("west")
    sites.stack.berth("up", "--yes")
    expected = {_NAMESPACE: {"digits-2", "breast-cancer-1"}, "east": {"digits-2"}}
    expected["west"] = expected["east"]
    for namespace, berths in expected.items():
        _wait_for_berths(sites, namespace, berths)
    assert sites.read_images("west") == sites.read_images("east")


def _wait_for_berths(sites: Sites, namespace: str, berths: set[str]) -> None:
    wait_for(lambda: set(sites.read_images(namespace)) == berths)
