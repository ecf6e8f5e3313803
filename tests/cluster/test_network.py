"""Tests of the network policies: which pods can reach a berth."""

import pytest

from tests.cluster.client_pod import try_to_connect
from tests.cluster.cluster import Cluster
from tests.cluster.stacks import NAMESPACE

pytestmark = pytest.mark.usefixtures("hosted")

_INFERENCE_PORT, _METRICS_PORT = 8080, 9090


@pytest.mark.parametrize(
    ("namespace", "labels", "port", "is_connected"),
    [
        ("elsewhere", {}, _INFERENCE_PORT, False),
        ("elsewhere", {"app.kubernetes.io/name": "gateway"}, _INFERENCE_PORT, False),
        (NAMESPACE, {}, _INFERENCE_PORT, False),
        (NAMESPACE, {}, _METRICS_PORT, False),
        (NAMESPACE, {"app.kubernetes.io/name": "digits"}, _INFERENCE_PORT, False),
        ("monitoring", {}, _INFERENCE_PORT, False),
        ("monitoring", {}, _METRICS_PORT, True),
    ],
)  # fmt: skip
def test_only_gateway_reaches_inference_and_only_scrapers_reach_metrics(
    cluster: Cluster, namespace: str, labels: dict[str, str], port: int, is_connected: bool
) -> None:
    address, image = _find_berth(cluster)
    output = try_to_connect(cluster, namespace, image, address, port, labels)
    assert output.startswith("connected") is is_connected, output


@pytest.mark.parametrize(
    ("namespace", "labels"),
    [
        ("elsewhere", {"app.kubernetes.io/name": "gateway"}),
        (NAMESPACE, {"app.kubernetes.io/name": "berth"}),
        ("monitoring", {}),
    ],
)  # fmt: skip
def test_only_gateway_reaches_valkey(
    cluster: Cluster, namespace: str, labels: dict[str, str]
) -> None:
    _, image = _find_berth(cluster)
    (pod,) = cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=valkey")["items"]
    output = try_to_connect(cluster, namespace, image, pod["status"]["podIP"], 6379, labels)
    assert output.startswith("blocked"), output


def test_berth_rejects_inference_without_the_token(cluster: Cluster) -> None:
    """The API server reaches every pod, as a node does, and has no token."""
    path = f"/api/v1/namespaces/{NAMESPACE}/services/digits-1:http/proxy/v2/models/digits/infer"
    output = cluster.kubectl("create", "--raw", path, "-f", "-", stdin="{}", code=1)
    assert "the server has asked for the client to provide credentials" in output


def _find_berth(cluster: Cluster) -> tuple[str, str]:
    """Return the address and the image of a berth."""
    (pod,) = cluster.get("pods", "-n", NAMESPACE, "-l", "berth/model=breast-cancer")["items"]
    return pod["status"]["podIP"], pod["spec"]["containers"][0]["image"]
