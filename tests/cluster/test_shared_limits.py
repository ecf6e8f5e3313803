"""Tests of the limits that the gateways of a cluster share in Valkey."""

import base64
from urllib.parse import urlsplit

import httpx
import pytest

from berth_protocol.model_card import read_card
from tests.cluster.cluster import Cluster, poll
from tests.cluster.stacks import NAMESPACE, create_load
from tests.engine.project import Project


def _list_pods(cluster: Cluster, name: str) -> list[str]:
    return cluster.list_names("pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/name={name}")


def _share_limits(cluster: Cluster) -> bool:
    """Return whether all gateways get their decisions from Valkey, from their own metrics."""
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    metrics = [
        cluster.kubectl("get", "--raw", f"{pods}/{pod}:9090/proxy/metrics")
        for pod in _list_pods(cluster, "gateway")
    ]
    return len(metrics) == 2 and all("berth_gateway_limits_shared 1.0" in text for text in metrics)


def _delete_pods(cluster: Cluster, name: str) -> None:
    pods = _list_pods(cluster, name)
    cluster.kubectl("delete", "pod", "-n", NAMESPACE, *pods)


def test_quota_survives_deletion_of_valkey_and_then_of_all_gateways(
    hosted: Project, cluster: Cluster
) -> None:
    example = read_card(hosted.root / "models" / "digits" / "1").example
    url = f"{hosted.json('status')['endpoint']}/v2/models/digits/infer"

    def send() -> int:
        headers = {"x-api-key": hosted.key("counted")}
        return httpx.post(url, headers=headers, json=example, timeout=30).status_code

    while send() == 200:  # A first attempt of this test may have used a part of the quota.
        pass
    load = create_load(hosted)
    with load.running(clients=2):
        _delete_pods(cluster, "valkey")
        poll(lambda: _share_limits(cluster), seconds=180)
    load.assert_no_failures()
    assert send() == 429
    _delete_pods(cluster, "gateway")
    cluster.wait_for(
        "-n", NAMESPACE, "deployment/gateway", "--for=condition=Available", seconds=180
    )
    poll(lambda: _share_limits(cluster), seconds=180)
    assert send() == 429


@pytest.mark.usefixtures("hosted")
def test_only_secrets_contain_the_password_of_valkey(cluster: Cluster) -> None:
    secrets = cluster.get("secrets", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=gateway")
    url = base64.b64decode(secrets["items"][0]["data"]["valkey-url"]).decode()
    password = urlsplit(url).password
    assert password
    kinds = "pods,statefulsets,deployments,services,configmaps,events"
    assert password not in cluster.kubectl("get", kinds, "-n", NAMESPACE, "-o", "yaml")
    for pod in [*_list_pods(cluster, "gateway"), *_list_pods(cluster, "valkey")]:
        assert password not in cluster.kubectl("logs", "-n", NAMESPACE, pod)
