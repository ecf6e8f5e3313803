"""Tests of traffic on a cluster: weights, mirroring, and updates that lose no request."""

import http.client
import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from berth.operations.state_file import read_resources
from berth.platforms.kubernetes.platform import PLATFORM as KUBERNETES
from berth.platforms.stack_context import StackContext
from berth.spec import load_recorded
from tests.cluster.cluster import Cluster, poll
from tests.cluster.stacks import (
    NAMESPACE,
    count_requests,
    create_load,
    read_config,
    restore_config,
)
from tests.engine.project import Load, Project, wait_for

_ENOUGH_REQUESTS = 10_000


@pytest.fixture
def stack(hosted: Project) -> Iterator[Project]:
    """The shared stack, restored after each test."""
    with restore_config(hosted):
        yield hosted


def _set_weights(**percents: int) -> Callable[[Any], None]:
    """Return a change of the traffic of digits, such as `v1=90, v2=10`."""

    def change(config: Any) -> None:
        config["berth:models"]["digits"]["traffic"] = {
            version.removeprefix("v"): percent for version, percent in percents.items()
        }

    return change


def test_canary_receives_its_share_of_requests(stack: Project) -> None:
    load = create_load(stack)
    with load.running(clients=4):
        wait_for(lambda: load.total >= 2000, seconds=120)
    load.assert_no_failures()
    # Four standard deviations of a binomial distribution with n = total and p = 0.1.
    expected, tolerance = load.total * 0.1, 4 * (load.total * 0.1 * 0.9) ** 0.5
    assert abs(load.versions["2"] - expected) < tolerance
    assert set(load.versions) == {"1", "2"}


def test_changed_weights_change_only_the_route_and_lose_no_request(stack: Project) -> None:
    load = create_load(stack)
    with load.running(clients=8):
        stack.edit(_set_weights(v1=10, v2=90))
        steps = stack.json("preview")["steps"]
        assert [urn["urn"].split("::")[-2].split("$")[-1] for urn in steps] == [
            "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
        ]
        stack.berth("up", "--yes")
        before = Counter(load.versions)
        wait_for(lambda: load.total >= _ENOUGH_REQUESTS // 2, seconds=240)
        stack.edit(_set_weights(v1=90, v2=10))
        stack.berth("up", "--yes")
        wait_for(lambda: load.total >= _ENOUGH_REQUESTS, seconds=240)
    load.assert_no_failures()
    assert load.versions["2"] > before["2"]


def test_traffic_that_moved_without_an_update_returns_with_the_next_one(
    stack: Project, cluster: Cluster
) -> None:
    """A process that ends between both leaves the route as another program would."""
    spec = load_recorded("hosted", read_config(stack), ())
    digits = spec.models["digits"].model_copy(update={"traffic": {"1": 100, "2": 0}})
    moved = spec.model_copy(update={"models": {**spec.models, "digits": digits}})
    context = StackContext(root=stack.root, stack=stack.stack, spec=moved)
    resources = read_resources(stack.root, stack.stack) or []
    load = create_load(stack)
    with load.running(clients=4):
        wait_for(lambda: load.versions["2"] > 0, seconds=120)
        assert KUBERNETES.shift_traffic(context, resources, ["digits"]) == ["digits"]
        wait_for(lambda: _receives_nothing(load, "2"), seconds=60)
        stack.berth("up", "--yes")
        before = load.versions["2"]
        wait_for(lambda: load.versions["2"] > before, seconds=120)
    load.assert_no_failures()
    route = cluster.get("httproute", "digits", "-n", NAMESPACE, "--show-managed-fields")
    writers = [
        entry["manager"]
        for entry in route["metadata"]["managedFields"]
        if "f:spec" in entry["fieldsV1"]
    ]
    assert len(writers) == 1
    stack.berth("preview", "--expect-no-changes")


def _receives_nothing(load: Load, version: str) -> bool:
    """Check that none of the next 100 requests reaches a version."""
    total, own = load.total, load.versions[version]
    wait_for(lambda: load.total >= total + 100, seconds=60)
    return load.versions[version] == own


def test_replacing_a_berth_loses_no_request(stack: Project, cluster: Cluster) -> None:
    def set_threads(config: Any) -> None:
        config["berth:models"]["digits"]["serving"] = {"threads": 3}

    old_pods = cluster.list_names("pods", "-n", NAMESPACE, "-l", "berth/model=digits")
    load = create_load(stack)
    with load.running(clients=4):
        stack.edit(set_threads)
        stack.berth("up", "--yes")
        cluster.wait_for_deletion(old_pods, NAMESPACE, seconds=90)
    load.assert_no_failures()


def test_share_of_version_without_ready_pod_fails_over(stack: Project, cluster: Cluster) -> None:
    """A Service without ready endpoints keeps its weight in a route: its share would get 503.

    A request that names the version reaches its pods as long as they serve.
    """

    def scale(replicas: int) -> None:
        cluster.kubectl(
            "scale", "deployment", "digits-2", "-n", NAMESPACE, f"--replicas={replicas}"
        )

    selector = "berth/model=digits,berth/version=2"
    pods = cluster.list_names("pods", "-n", NAMESPACE, "-l", selector)
    load = create_load(stack)
    named_load = create_load(stack, "/v2/models/digits/versions/2/infer")
    try:
        # Requests continue while the last pod ends.
        with load.running(clients=2), named_load.running(clients=1):
            scale(0)
            cluster.wait_for_deletion(pods, NAMESPACE, seconds=90)
            before = load.total
            wait_for(lambda: load.total >= before + 300, seconds=120)
        load.assert_no_failures()
        assert "503" not in named_load.statuses
        rest = create_load(stack)
        with rest.running(clients=2):
            wait_for(lambda: rest.total >= 50, seconds=120)
        assert set(rest.versions) == {"1"}
        url = f"{load.endpoint}/v2/models/digits/versions/2/infer"
        named = httpx.post(url, headers=load.headers, content=load.body, timeout=60)
        # A Service without pods refuses a connection, or the cluster's network drops it.
        assert named.status_code in (502, 504)
        assert list(named.json()) == ["error"]
    finally:
        scale(1)
    with load.running(clients=2):
        wait_for(lambda: load.versions["2"] > 0, seconds=120)
    load.assert_no_failures()


def test_requests_reach_gateway_pods_while_all_of_them_end(
    stack: Project, cluster: Cluster
) -> None:
    selector = "app.kubernetes.io/name=gateway"
    pods = cluster.list_names("pods", "-n", NAMESPACE, "-l", selector)
    load = create_load(stack)
    load.body += b" " * 300_000  # Short bodies do not pass through the gateway.
    with load.running(clients=2):
        cluster.kubectl("delete", "pods", "-n", NAMESPACE, "-l", selector, "--wait=false")
        cluster.wait_for_deletion(pods, NAMESPACE, seconds=90)
        cluster.kubectl("rollout", "status", "deployment/gateway", "-n", NAMESPACE)
        before = load.statuses["200"]
        wait_for(lambda: load.statuses["200"] > before, seconds=120)
    assert "503" not in load.statuses


def test_shadowing_removing_and_adding_a_version_loses_no_request(
    stack: Project, cluster: Cluster
) -> None:
    def shadow_version_2(config: Any) -> None:
        config["berth:models"]["digits"] |= {"traffic": {"1": 100}, "shadow": "2"}

    def remove_version_2(config: Any) -> None:
        digits = config["berth:models"]["digits"]
        digits["versions"].pop("2")
        digits.pop("shadow")

    def add_version_2(config: Any) -> None:
        digits = config["berth:models"]["digits"]
        digits["versions"]["2"] = {}
        digits["traffic"] = {"1": 90, "2": 10}

    load = create_load(stack)
    with load.running(clients=4):
        stack.edit(shadow_version_2)
        stack.berth("up", "--yes")
        poll(lambda: count_requests(cluster, NAMESPACE, "2") > 100, seconds=120)
        url = f"{load.endpoint}/v2/models/digits/versions/2/infer"
        assert httpx.post(url, headers=load.headers, content=load.body).status_code == 404
        stack.edit(remove_version_2)
        stack.berth("up", "--yes")
        stack.edit(add_version_2)
        stack.berth("up", "--yes")
        # Terminating pods still respond on connections that are open.
        cluster.wait_for_deletion(_list_terminating_pods(cluster), NAMESPACE, seconds=90)
    load.assert_no_failures()


_LONG_BODY_BYTES = 300 << 20
_CONCURRENT = 64


def _send_long_body(load: Load) -> int:
    """Return the status of a request that is 30 times as long as the limit."""
    url = urlsplit(load.endpoint)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=120)
    with closing(connection):
        connection.putrequest("POST", load.path)
        for name, value in {**load.headers, "content-length": str(_LONG_BODY_BYTES)}.items():
            connection.putheader(name, value)
        connection.endheaders()
        part = b"0" * (1 << 20)
        with suppress(ConnectionError):  # The response may come before the end of the body.
            for _ in range(_LONG_BODY_BYTES // len(part)):
                connection.send(part)
        return connection.getresponse().status


def test_shadow_does_not_make_the_ingress_controller_buffer_bodies(
    stack: Project, cluster: Cluster
) -> None:
    def shadow_version_2(config: Any) -> None:
        config["berth:models"]["digits"] |= {"traffic": {"1": 100}, "shadow": "2"}

    def list_restarts() -> list[int]:
        pods = cluster.get("pods", "-n", NAMESPACE)["items"]
        return [
            container["restartCount"]
            for pod in pods
            for container in pod["status"].get("containerStatuses", ())
        ]

    stack.edit(shadow_version_2)
    stack.berth("up", "--yes")
    load = create_load(stack)
    assert _send_long_body(load) == 413
    with load.running(clients=_CONCURRENT):
        wait_for(lambda: load.total >= 10 * _CONCURRENT, seconds=120)
    load.assert_no_failures()
    assert set(list_restarts()) == {0}


@pytest.mark.parametrize(("key", "status"), [("", 401), (None, 413)])
def test_error_before_the_end_of_a_long_body_reaches_the_client(
    stack: Project, key: str | None, status: int
) -> None:
    """The gateway responds. The ingress controller would close the connection: a reset."""
    load = create_load(stack)
    headers = load.headers if key is None else {"x-api-key": key}
    request = urllib.request.Request(
        load.endpoint + load.path, b"0" * (15 << 20), headers, method="POST"
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    assert caught.value.code == status
    assert list(json.loads(caught.value.read())) == ["error"]


def test_requests_with_long_bodies_keep_the_weights_of_the_route(stack: Project) -> None:
    load = create_load(stack)
    load.body += b" " * 300_000
    with load.running(clients=2):
        wait_for(lambda: load.total >= 100, seconds=120)
    load.assert_no_failures()
    # Two gateways divide the requests, and each of them splits its own exactly.
    assert abs(load.versions["2"] - load.total / 10) <= 2


def _list_terminating_pods(cluster: Cluster) -> list[str]:
    pods = cluster.get("pods", "-n", NAMESPACE)["items"]
    return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"]]
