"""Components on a cluster in programs of one's own, in Python and YAML."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from berth_protocol.model_card import read_card
from tests.cluster.cluster import Cluster
from tests.engine.project import wait_for
from tests.example import LANGUAGES, Example, install_berth
from tests.repository import REPOSITORY


@pytest.fixture(scope="module")
def installed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which only Berth is installed, and the cluster is the current one."""
    return install_berth(tmp_path_factory.mktemp("berth")) | {"KUBECONFIG": str(cluster.kubeconfig)}


def _create(
    name: str, language: str, directory: Path, cluster: Cluster, installed: dict[str, str]
) -> Example:
    return Example.create(
        name, language, directory, installed,
        models=str(REPOSITORY / "models"), registry=f"{cluster.registry}/berth", plainHttp="true",
    )  # fmt: skip


@pytest.fixture(params=LANGUAGES)
def berth(
    request: pytest.FixtureRequest, cluster: Cluster, installed: dict[str, str], tmp_path: Path
) -> Iterator[Example]:
    example = _create("kubernetes-berth", request.param, tmp_path / "shop", cluster, installed)
    yield example
    example.destroy()


def test_berth_gets_its_image_and_namespace_from_other_resources(
    berth: Example, cluster: Cluster
) -> None:
    assert "berth:index:KubernetesBerth::berth" in str(berth.preview())  # With unknown values.
    namespace = berth.up()["namespace"]
    berth.pulumi("preview", "--expect-no-changes")
    path = f"/api/v1/namespaces/{namespace}/services/digits-1:http/proxy/v2/models/digits"
    assert json.loads(cluster.kubectl("get", "--raw", path))["versions"] == ["1"]

    is_python = (berth.directory / "__main__.py").exists()
    berth.replace(*(("max=3", "max=2") if is_python else ("max: 3", "max: 2")))
    assert berth.up()["namespace"] == namespace
    autoscaler = cluster.get("hpa", "-n", namespace)["items"][0]["spec"]
    assert autoscaler["maxReplicas"] == 2
    berth.destroy()
    assert namespace not in cluster.list_names("namespaces")


def _infer(cluster: Cluster, outputs: dict[str, Any]) -> httpx.Response:
    return httpx.post(
        f"http://{cluster.node}:{outputs['port']:.0f}/v2/models/digits/infer",
        headers={"x-api-key": outputs["apiKeys"]["app"]},
        json=read_card(REPOSITORY / "models" / "digits" / "1").example,
    )


def test_hosting_serves_clients_outside_the_cluster(
    cluster: Cluster, installed: dict[str, str], tmp_path: Path
) -> None:
    hosting = _create("kubernetes-hosting", "yaml", tmp_path / "shop", cluster, installed)
    small = (
        f"controllerImage: {cluster.traefik_image}",
        "controllerReplicas: 1",
        "gatewayReplicas: 1",
        "namespace:",
    )
    hosting.replace("      namespace:", "".join(f"      {line}\n" for line in small).rstrip())
    try:
        outputs = hosting.up()
        wait_for(lambda: _infer(cluster, outputs).status_code == 200, seconds=60)
        assert outputs["namespace"] == "hosting-test"
        hosting.require_no_changes()
    finally:
        hosting.destroy()
    assert "hosting-test" not in cluster.list_names("namespaces")
