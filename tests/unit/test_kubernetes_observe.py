"""What a cluster shows about a stack, with objects as the cluster's API returns them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from berth.platforms.kubernetes import observe
from berth.platforms.kubernetes.cluster import ClusterAccess

_ACCESS = ClusterAccess(kubeconfig=None, context=None)
_TIME = "2026-11-02T03:04:05Z"
_LABELS = {"app.kubernetes.io/instance": "digits-1", "app.kubernetes.io/part-of": "berth"}


def _pod(
    uid: str,
    *,
    digest: str = "sha256:new",
    is_ready: bool = False,
    restarts: int = 0,
    labels: dict[str, str] | None = _LABELS,
) -> dict[str, Any]:
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off"}
    state: dict[str, Any] = {"running": {"startedAt": _TIME}} if is_ready else {"waiting": waiting}
    return {
        "metadata": {
            "name": f"digits-1-{uid}",
            "uid": uid,
            "labels": labels,
            "annotations": {"berth/digest": digest},
        },
        "spec": {"containers": [{"name": "berth", "image": f"registry/{digest}"}]},
        "status": {
            "conditions": [{"type": "Ready", "status": str(is_ready), "lastTransitionTime": _TIME}],
            "containerStatuses": [
                {
                    "name": "berth",
                    "image": "",
                    "imageID": "",
                    "ready": is_ready,
                    "restartCount": restarts,
                    "state": state,
                }
            ],
        },
    }


def _deployment(**status: int) -> dict[str, Any]:
    return {
        "metadata": {"name": "digits-1", "generation": 2},
        "spec": {"replicas": 1, "selector": {}, "template": {}},
        "status": {"observedGeneration": 2, **status},
    }


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the cluster return these Deployments and pods."""

    def show(deployments: list[dict[str, Any]], *pods: dict[str, Any]) -> None:
        from kubernetes import client

        class _Response:
            def __init__(self, content: dict[str, Any]) -> None:
                self.data = json.dumps(content)

        def decode(items: list[dict[str, Any]], kind: str) -> Any:
            return client.ApiClient().deserialize(_Response({"items": items}), kind)

        class _Api:
            def list_namespaced_deployment(self, *_: Any, **__: Any) -> Any:
                return decode(deployments, "V1DeploymentList")

            def list_namespaced_pod(self, *_: Any, **__: Any) -> Any:
                return decode(list(pods), "V1PodList")

        monkeypatch.setattr(observe, "_connect", lambda _: (_Api(), _Api()))

    return show


_BERTH = {
    "traffic": 100,
    "exposed": True,
    "digest": "sha256:new",
    "image": "registry/sha256:new",
}
_MODELS = {"digits": {"versions": {"1": _BERTH}, "shadow": None}}


def _observe_version() -> dict[str, Any]:
    observed = observe.observe(_ACCESS, {"namespace": "n", "models": _MODELS})
    version: dict[str, Any] = observed["models"]["digits"]["versions"]["1"]
    return version


def test_status_after_a_failed_update_shows_the_digest_that_runs(
    show: Callable[..., None],
) -> None:
    show(
        [_deployment(replicas=2, updatedReplicas=1, readyReplicas=1)],
        _pod("old", digest="sha256:old", is_ready=True),
        _pod("new", restarts=2),
        _pod("foreign", labels=None),
    )
    version = _observe_version()
    assert (version["digest"], version["image"]) == ("sha256:old", "registry/sha256:old")
    assert version["state"] != "ready"


def test_status_lists_version_that_an_interrupted_update_has_deployed(
    show: Callable[..., None],
) -> None:
    new = _deployment(replicas=1, updatedReplicas=1)
    new["metadata"]["name"] = "digits-2"
    new["spec"] = {
        "selector": {"matchLabels": {"berth/model": "digits", "berth/version": "2"}},
        "template": {
            "metadata": {"annotations": {"berth/digest": "sha256:two"}},
            "spec": {"containers": [{"name": "berth", "image": "registry/two"}]},
        },
    }
    labels = {"app.kubernetes.io/instance": "digits-2"}
    show(
        [_deployment(replicas=1, updatedReplicas=1, readyReplicas=1), new],
        _pod("one", is_ready=True),
        _pod("two", restarts=4, labels=labels),
    )
    observed = observe.observe(_ACCESS, {"namespace": "n", "models": _MODELS})
    versions = observed["models"]["digits"]["versions"]
    assert versions["1"]["state"] == "ready"
    assert versions["2"]["state"] == "CrashLoopBackOff"
    assert (versions["2"]["digest"], versions["2"]["traffic"]) == ("sha256:two", 0)


def test_deployment_with_the_status_of_its_previous_generation_is_not_ready(
    show: Callable[..., None],
) -> None:
    deployment = _deployment(replicas=1, updatedReplicas=1, readyReplicas=1)
    deployment["status"]["observedGeneration"] = 1
    show([deployment], _pod("old", is_ready=True))
    assert _observe_version()["state"] == "not ready"
    deployment["status"]["observedGeneration"] = 2
    show([deployment], _pod("old", is_ready=True))
    assert _observe_version()["state"] == "ready"


@pytest.mark.parametrize(
    ("seconds", "state"),
    [
        pytest.param(None, "ready", id="running"),
        pytest.param(20, "replacing", id="ends within its grace period"),
        pytest.param(-20, "replacing", id="killed a moment ago"),
        pytest.param(-3600, "ready", id="on a lost node"),
    ],
)
def test_gateway_is_not_ready_while_a_pod_with_the_previous_keys_ends(
    show: Callable[..., None], seconds: int | None, state: str
) -> None:
    """`berth up` waits for this state, so that a removed key does not work once it returns."""
    deployments = [_deployment(replicas=1, updatedReplicas=1, readyReplicas=1) for _ in range(3)]
    for deployment, name in zip(deployments, ("digits-1", "gateway", "traefik"), strict=True):
        deployment["metadata"]["name"] = name
    pods = [_pod("new", is_ready=True) for _ in range(3)]
    for pod, name in zip(pods, ("gateway", "gateway", "traefik"), strict=True):
        pod["metadata"]["name"] = f"{name}-{id(pod)}"
        pod["metadata"]["labels"] = {
            "app.kubernetes.io/name": name,
            "app.kubernetes.io/part-of": "berth",
        }
    if seconds is not None:
        ended = datetime.now(UTC) + timedelta(seconds=seconds)
        pods[0]["metadata"]["deletionTimestamp"] = ended.isoformat()
    show(deployments, *pods)
    observed = observe.observe(_ACCESS, {"namespace": "n", "models": {}})
    assert observed["gateway"] == state


def test_only_new_pods_that_crash_again_and_again_are_hopeless(show: Callable[..., None]) -> None:
    show([], _pod("old", restarts=9), _pod("new", restarts=1), _pod("ready", is_ready=True))
    assert observe.find_hopeless_pods(_ACCESS, "n", {"old"}) == []
    show([], _pod("old", restarts=9), _pod("new", restarts=3))
    (line,) = observe.find_hopeless_pods(_ACCESS, "n", {"old"})
    assert line.startswith("digits-1: CrashLoopBackOff: back-off")
