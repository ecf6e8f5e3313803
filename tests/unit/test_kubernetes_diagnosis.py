"""Tests of the diagnosis of berths that are not ready, from the status of their pods."""

from typing import Any

import pytest

from berth.platforms.kubernetes.diagnosis import diagnose_deployment, diagnose_pod


def _pod(**status: Any) -> dict[str, Any]:
    return {"status": status}


def _waiting(reason: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "serving",
        "state": {"waiting": {"reason": reason, "message": "details."}},
        **more,
    }


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("ImagePullBackOff", "in the registry"),
        ("CrashLoopBackOff", "last log line"),
        ("CreateContainerConfigError", "Secret or ConfigMap"),
        ("UnknownReason", "kubectl describe"),
    ],
)
def test_waiting_container_is_diagnosed_with_reason_and_remedy(reason: str, remedy: str) -> None:
    diagnosis = diagnose_pod("digits-1", _pod(containerStatuses=[_waiting(reason)]))
    assert str(diagnosis).startswith(f"digits-1: {reason}: details. ")
    assert remedy in str(diagnosis).partition("To do:")[2]


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_starting_pod_has_no_diagnosis(reason: str) -> None:
    assert diagnose_pod("x", _pod(containerStatuses=[_waiting(reason)])) is None
    assert diagnose_pod("x", {}) is None


def test_unschedulable_pod_is_reported_before_container_states() -> None:
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu.",
    }  # fmt: skip
    diagnosis = diagnose_pod(
        "x", _pod(conditions=[condition], containerStatuses=[_waiting("Other")])
    )
    assert diagnosis is not None
    assert (diagnosis.reason, diagnosis.message) == ("Unschedulable", condition["message"])


@pytest.mark.parametrize("statuses", ["initContainerStatuses", "containerStatuses"])
def test_ended_container_is_diagnosed_with_its_last_log_line(statuses: str) -> None:
    terminated = {
        "terminated": {"reason": "Error", "exitCode": 3, "message": "first line\nlast line\n"}
    }
    for container in (
        _waiting("CrashLoopBackOff", lastState=terminated),
        {"name": "serving", "state": terminated},
    ):
        diagnosis = diagnose_pod("x", _pod(**{statuses: [container]}))
        assert diagnosis is not None
        assert "Last log line: last line To do: Fix the error in the last log line." in str(
            diagnosis
        )


def test_container_out_of_memory_is_diagnosed_with_memory_setting() -> None:
    ended = _waiting("CrashLoopBackOff", lastState={"terminated": {"reason": "OOMKilled"}})
    diagnosis = diagnose_pod("x", _pod(containerStatuses=[ended]))
    assert diagnosis is not None
    assert "resources.memory" in str(diagnosis)


def test_deployment_that_cannot_create_pods_is_diagnosed() -> None:
    condition = {
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "exceeded quota",
    }  # fmt: skip
    diagnosis = diagnose_deployment("x", {"status": {"conditions": [condition]}})
    assert diagnosis is not None
    assert "exceeded quota" in str(diagnosis)
    assert diagnose_deployment("x", {"status": {}}) is None
