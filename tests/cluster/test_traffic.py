"""Traffic on a cluster: weights, and what changes of them cost."""

import json
from collections import Counter
from typing import Any

import httpx

from berth_protocol.model_card import read_card
from tests.cluster.cluster import Cluster
from tests.engine.project import Load, Project, eventually

_ENOUGH = 10_000


def _load(project: Project, path: str = "/v2/models/digits/infer") -> Load:
    request = read_card(project.root / "models" / "digits" / "1").example
    return Load(
        endpoint=project.json("status")["endpoint"],
        headers={"x-api-key": project.key(), "content-type": "application/json"},
        path=path,
        body=json.dumps(request).encode(),
    )


def _weights(**percents: int) -> Any:
    def change(config: Any) -> None:
        config["berth:models"]["digits"]["traffic"] = {
            version.removeprefix("v"): percent for version, percent in percents.items()
        }

    return change


def test_a_canary_gets_its_share(hosted: Project) -> None:
    load = _load(hosted)
    with load.running(clients=4):
        eventually(lambda: load.total >= 2000, seconds=120)
    load.expect_none_lost()
    # Four standard deviations of a binomial with n = total and p = 0.1.
    expected, spread = load.total * 0.1, 4 * (load.total * 0.1 * 0.9) ** 0.5
    assert abs(load.versions["2"] - expected) < spread
    assert set(load.versions) == {"1", "2"}


def test_changed_weights_change_the_route_alone_and_fail_no_request(hosted: Project) -> None:
    load = _load(hosted)
    with load.running(clients=8):
        hosted.edit(_weights(v1=10, v2=90))
        steps = hosted.json("preview")["steps"]
        assert [urn["urn"].split("::")[-2].split("$")[-1] for urn in steps] == [
            "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
        ]
        hosted.berth("up", "--yes")
        before = Counter(load.versions)
        eventually(lambda: load.total >= _ENOUGH // 2, seconds=240)
        hosted.edit(_weights(v1=90, v2=10))
        hosted.berth("up", "--yes")
        eventually(lambda: load.total >= _ENOUGH, seconds=240)
    load.expect_none_lost()
    assert load.versions["2"] > before["2"]


def test_a_berth_is_replaced_without_a_failed_request(hosted: Project, cluster: Cluster) -> None:
    def threads(number: int) -> Any:
        def change(config: Any) -> None:
            config["berth:models"]["digits"]["serving"] = {"threads": number}

        return change

    def pods() -> set[str]:
        found = cluster.get("pods", "-n", "hosted", "-l", "berth/model=digits")["items"]
        return {pod["metadata"]["name"] for pod in found}

    before = pods()
    load = _load(hosted)
    with load.running(clients=4):
        hosted.edit(threads(3))
        hosted.berth("up", "--yes")
        eventually(lambda: not pods() & before, seconds=90)
    load.expect_none_lost()
    hosted.edit(lambda config: config["berth:models"]["digits"].pop("serving"))
    hosted.berth("up", "--yes")


def _answered_by(cluster: Cluster, version: str) -> float:
    """Requests that the berth has answered, as it counts them itself."""
    said = cluster.run(
        "get", "--raw", f"/api/v1/namespaces/hosted/services/digits-{version}:http/proxy/metrics"
    )
    lines = [line for line in said.splitlines() if line.startswith("berth_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_a_version_is_shadowed_taken_away_and_added(hosted: Project, cluster: Cluster) -> None:
    """Version 2 leaves the traffic, gets copies, and is gone; nobody's request fails."""

    def shadowed(config: Any) -> None:
        config["berth:models"]["digits"] |= {"traffic": {"1": 100}, "shadow": "2"}

    def alone(config: Any) -> None:
        digits = config["berth:models"]["digits"]
        digits["versions"].pop("2")
        digits.pop("shadow")

    def both(config: Any) -> None:
        digits = config["berth:models"]["digits"]
        digits["versions"]["2"] = {}
        digits["traffic"] = {"1": 90, "2": 10}

    load = _load(hosted)
    with load.running(clients=4):
        hosted.edit(shadowed)
        hosted.berth("up", "--yes")
        eventually(lambda: _answered_by(cluster, "2") > 100)
        named = f"{load.endpoint}/v2/models/digits/versions/2/infer"
        assert httpx.post(named, headers=load.headers, content=load.body).status_code == 404
        hosted.edit(alone)
        hosted.berth("up", "--yes")
        hosted.edit(both)
        hosted.berth("up", "--yes")
        # Until those that drain are gone, who asks by an old connection is answered by them.
        eventually(lambda: not _leaving(cluster), seconds=90)
    load.expect_none_lost()


def _leaving(cluster: Cluster) -> list[str]:
    pods = cluster.get("pods", "-n", "hosted")["items"]
    return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"]]
