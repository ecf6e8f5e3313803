"""Why a berth is not ready, from what the cluster's API says of its pods."""

from typing import Any

import pytest

from berth.platforms.kubernetes.diagnosis import of_deployment, of_pod


def _pod(**status: Any) -> dict[str, Any]:
    return {"status": status}


def _waiting(reason: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "serving",
        "state": {"waiting": {"reason": reason, "message": "what it says."}},
        **more,
    }


@pytest.mark.parametrize(
    ("reason", "to_do"),
    [
        ("ImagePullBackOff", "in the registry"),
        ("CrashLoopBackOff", "last words"),
        ("CreateContainerConfigError", "Secret or ConfigMap"),
        ("SomethingNew", "kubectl describe"),
    ],
)
def test_a_container_that_waits_says_why(reason: str, to_do: str) -> None:
    found = of_pod("digits-1", _pod(containerStatuses=[_waiting(reason)]))
    assert str(found).startswith(f"digits-1: {reason}: what it says. ")
    assert to_do in str(found).partition("To do:")[2]


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_pod_on_its_way_is_not_hindered(reason: str) -> None:
    assert of_pod("x", _pod(containerStatuses=[_waiting(reason)])) is None
    assert of_pod("x", {}) is None


def test_no_node_comes_before_all_else() -> None:
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu.",
    }  # fmt: skip
    found = of_pod("x", _pod(conditions=[condition], containerStatuses=[_waiting("Other")]))
    assert found is not None
    assert (found.reason, found.message) == ("Unschedulable", condition["message"])


@pytest.mark.parametrize("where", ["initContainerStatuses", "containerStatuses"])
def test_a_container_that_ended_is_told_with_its_last_words(where: str) -> None:
    ended = {"terminated": {"reason": "Error", "exitCode": 3, "message": "begins\nthe reason\n"}}
    for container in (
        _waiting("CrashLoopBackOff", lastState=ended),
        {"name": "serving", "state": ended},
    ):
        found = of_pod("x", _pod(**{where: [container]}))
        assert found is not None
        assert "It said last: the reason To do: mend what its last words say" in str(found)


def test_memory_is_told_as_such() -> None:
    ended = _waiting("CrashLoopBackOff", lastState={"terminated": {"reason": "OOMKilled"}})
    found = of_pod("x", _pod(containerStatuses=[ended]))
    assert found is not None
    assert "resources.memory" in str(found)


def test_a_deployment_that_may_make_no_pods_says_why() -> None:
    condition = {
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "exceeded quota",
    }  # fmt: skip
    found = of_deployment("x", {"status": {"conditions": [condition]}})
    assert found is not None
    assert "exceeded quota" in str(found)
    assert of_deployment("x", {"status": {}}) is None
