"""Tests of the network policies: which pods can reach a berth."""

from dataclasses import dataclass

import pytest

from tests.cluster.client_pod import Client, try_to_connect
from tests.cluster.cluster import Cluster
from tests.cluster.stacks import NAMESPACE

pytestmark = pytest.mark.usefixtures("hosted")

_PORTS = {"inference": 8080, "metrics": 9090, "valkey": 6379}


@dataclass(frozen=True)
class Case:
    """A pod that tries to connect.

    Attributes:
        target: What it connects to: a key of `_PORTS`.
        name: Value of its label `app.kubernetes.io/name`. Empty for no label.
    """

    namespace: str
    target: str
    name: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.namespace, self.name, self.target)))


_BERTH_CASES = {
    Case("elsewhere", "inference"): False,
    Case("elsewhere", "inference", "gateway"): False,
    Case(NAMESPACE, "inference"): False,
    Case(NAMESPACE, "metrics"): False,
    Case(NAMESPACE, "inference", "digits"): False,
    Case("monitoring", "inference"): False,
    Case("monitoring", "metrics"): True,
}
"""Pods that connect to a berth, and whether the policies admit them."""
_VALKEY_CASES = (
    Case("elsewhere", "valkey", "gateway"),
    Case(NAMESPACE, "valkey", "berth"),
    Case("monitoring", "valkey"),
)


@pytest.fixture(scope="module")
def outputs(cluster: Cluster) -> dict[Case, str]:
    """The output of a pod for each case."""
    (berth,) = cluster.get("pods", "-n", NAMESPACE, "-l", "berth/model=breast-cancer")["items"]
    (valkey,) = cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=valkey")["items"]
    cases = [*_BERTH_CASES, *_VALKEY_CASES]
    clients = [
        Client(
            namespace=case.namespace,
            address=(valkey if case.target == "valkey" else berth)["status"]["podIP"],
            port=_PORTS[case.target],
            labels={"app.kubernetes.io/name": case.name} if case.name else {},
        )
        for case in cases
    ]
    image = berth["spec"]["containers"][0]["image"]
    return dict(zip(cases, try_to_connect(cluster, image, clients), strict=True))


@pytest.mark.parametrize("case", _BERTH_CASES, ids=str)
def test_only_gateway_reaches_inference_and_only_scrapers_reach_metrics(
    outputs: dict[Case, str], case: Case
) -> None:
    expected = "connected" if _BERTH_CASES[case] else "blocked"
    assert outputs[case].startswith(expected), outputs[case]


@pytest.mark.parametrize("case", _VALKEY_CASES, ids=str)
def test_only_gateway_reaches_valkey(outputs: dict[Case, str], case: Case) -> None:
    assert outputs[case].startswith("blocked"), outputs[case]


def test_berth_rejects_inference_without_the_token(cluster: Cluster) -> None:
    """The API server reaches every pod, as a node does, and has no token."""
    path = f"/api/v1/namespaces/{NAMESPACE}/services/digits-1:http/proxy/v2/models/digits/infer"
    output = cluster.kubectl("create", "--raw", path, "-f", "-", stdin="{}", code=1)
    assert "the server has asked for the client to provide credentials" in output
