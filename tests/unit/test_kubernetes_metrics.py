"""Metrics in pods: what cannot be read is an error, and not a cluster without requests."""

from types import SimpleNamespace
from typing import Any

import kubernetes.client
import kubernetes.stream
import pytest
from kubernetes.client import ApiException

from berth.errors import OperationError
from berth.platforms.kubernetes.metrics import read_metrics

_ACCESS: Any = SimpleNamespace(create_client=lambda: None)
_TEXT = 'berth_model_info{model="digits",version="1"} 1.0\n'


def build_pod(name: str, **labels: str) -> Any:
    return SimpleNamespace(
        metadata=SimpleNamespace(uid=name, name=name, namespace="berth", labels=labels),
        spec=SimpleNamespace(containers=[SimpleNamespace(name="berth")]),
    )


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of pods in which no program can be run. There are two, and one of Valkey."""
    pods = [
        *(build_pod(name, **{"berth/model": "digits"}) for name in ("one", "two")),
        build_pod("valkey"),
    ]
    names: set[str] = set()

    class Api:
        connect_get_namespaced_pod_exec = None

        def __init__(self, _client: object) -> None:
            pass

        def list_namespaced_pod(self, _namespace: str, **_: object) -> Any:
            return SimpleNamespace(items=pods)

    def run(_method: object, name: str, *_: object, **_options: object) -> str:
        if name in names:
            raise ApiException(status=0, reason="Handshake status 403 Forbidden")
        return _TEXT

    monkeypatch.setattr(kubernetes.client, "CoreV1Api", Api)
    monkeypatch.setattr(kubernetes.stream, "stream", run)
    return names


def test_pod_that_cannot_be_read_is_left_out(refused: set[str]) -> None:
    refused.add("one")
    assert read_metrics(_ACCESS, {"namespace": "berth"}) == {"two": _TEXT}


def test_missing_permission_is_reported_with_its_name(refused: set[str]) -> None:
    refused |= {"one", "two"}
    with pytest.raises(OperationError, match=r"None of 2 pods in namespace berth .*'pods/exec'"):
        read_metrics(_ACCESS, {"namespace": "berth"})
