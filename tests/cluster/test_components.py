"""Components on a cluster in programs of one's own, in Python and YAML."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import valkey

from berth_protocol.model_card import read_card
from tests.cluster.cluster import Cluster, poll
from tests.example import LANGUAGES, Example, install_berth
from tests.gateway.valkey_server import ValkeyServer
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
    assert "berth:kubernetes:Berth::berth" in berth.preview()  # With unknown values.
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


def _infer(cluster: Cluster, outputs: dict[str, Any]) -> int:
    return httpx.post(
        f"http://{cluster.node}:{outputs['port']:.0f}/v2/models/digits/infer",
        headers={"x-api-key": outputs["apiKeys"]["app"]},
        json=read_card(REPOSITORY / "models" / "digits" / "1").example,
        timeout=30,
    ).status_code


def _count_allowed(cluster: Cluster, outputs: dict[str, Any], requests: int) -> int:
    codes = [_infer(cluster, outputs) for _ in range(requests)]
    assert set(codes) <= {200, 429}
    return codes.count(200)


@pytest.fixture
def storage_class(cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    """A class with one volume: a directory of the node."""
    directory = tmp_path / "volume"
    directory.mkdir()
    # Only the test's user can read pytest's directories, and pods run as another user.
    directory.chmod(0o777)
    for path in directory.parents[:4]:
        path.chmod(0o755)
    cluster.apply(
        {
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "disk"},
            "provisioner": "kubernetes.io/no-provisioner",
        },
        {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "limits"},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "storageClassName": "disk", "hostPath": {"path": str(directory)},
            },
        },
    )  # fmt: skip
    yield "disk"
    cluster.kubectl("delete", "pv/limits", "storageclass/disk", "--wait=false")


@pytest.fixture
def own_valkey(cluster: Cluster, tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server outside the cluster, at the machine's address in the cluster's network."""
    directory = tmp_path / "valkey"
    directory.mkdir()
    server = ValkeyServer(directory, host=cluster.node.rpartition(".")[0] + ".1")
    server.start()
    yield server
    server.kill()


def _require_gateway(cluster: Cluster, outputs: dict[str, Any]) -> None:
    """Wait until one pod of the gateway is left, and ready."""
    namespace = outputs["namespace"]
    gateway = ("pods", "-n", namespace, "-l", "app.kubernetes.io/name=gateway")
    poll(lambda: len(cluster.list_names(*gateway)) == 1, seconds=120)
    cluster.wait_for(
        "-n", namespace, *gateway[:1], *gateway[3:], "--for=condition=Ready", seconds=120
    )


def test_hosting_keeps_quota_on_a_volume_and_then_in_an_existing_server(
    cluster: Cluster,
    installed: dict[str, str],
    storage_class: str,
    own_valkey: ValkeyServer,
    tmp_path: Path,
) -> None:
    hosting = _create("kubernetes-hosting", "yaml", tmp_path / "shop", cluster, installed)
    on_volume = f"limits: {{storageClass: {storage_class}}}"
    small = (
        f"controllerImage: {cluster.traefik_image}",
        "controllerReplicas: 1",
        "gatewayReplicas: 1",
        on_volume,
        "namespace:",
    )
    hosting.replace("      namespace:", "".join(f"      {line}\n" for line in small).rstrip())
    hosting.replace("burst: 200", "burst: 200, quota: {requests: 3, period: month}")
    try:
        outputs = hosting.up()
        poll(lambda: _infer(cluster, outputs) == 200, seconds=60)
        assert _count_allowed(cluster, outputs, 5) == 2
        hosting.require_no_changes()
        # With a volume, the quota survives the loss of all pods.
        pods = ("pods", "-n", outputs["namespace"])
        names = [*cluster.list_names(*pods, "-l", "app.kubernetes.io/name in (gateway, valkey)")]
        cluster.kubectl("delete", "pod", "-n", outputs["namespace"], *names)
        _require_gateway(cluster, outputs)
        poll(lambda: _infer(cluster, outputs) == 429, seconds=60)

        url = f"limits: {{valkeyUrl: '{own_valkey.url}', whenUnreachable: no-limits}}"
        hosting.replace(on_volume, url)
        hosting.up()
        _require_gateway(cluster, outputs)
        assert _count_allowed(cluster, outputs, 5) == 3
        with valkey.Valkey.from_url(own_valkey.url) as client:
            keys = list(client.scan_iter())
        assert keys
        assert all(key.startswith(b"berth:hosting-test:") for key in keys)
        own_valkey.kill()
        assert _count_allowed(cluster, outputs, 5) == 5
    finally:
        hosting.destroy()
    assert "hosting-test" not in cluster.list_names("namespaces")
