"""What the platforms kubernetes and aws do in the cluster during an update and at its end."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from kubernetes.client import ApiException

from berth.cli import stacks
from berth.errors import OperationError
from berth.platforms.aws import access as aws_access
from berth.platforms.aws.platform import PLATFORM as AWS
from berth.platforms.kubernetes import fixed_replicas, observe, restored_objects
from berth.platforms.kubernetes.cluster import ClusterAccess
from berth.platforms.kubernetes.platform import PLATFORM as KUBERNETES
from berth.platforms.platform import Platform
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError

_PLATFORMS = pytest.mark.parametrize("platform", [KUBERNETES, AWS], ids=lambda one: one.name)


def _context(kubeconfig: str | None = "/kubeconfig") -> StackContext:
    spec: Any = SimpleNamespace(
        kubernetes=SimpleNamespace(kubeconfig=kubeconfig, context=None, namespace="n"),
        edge=SimpleNamespace(sites={}), aws={"region": "eu-central-1"},
    )  # fmt: skip
    return StackContext(root=Path("/"), stack="prod", spec=spec)


def _resource(kind: str, name: str, **outputs: Any) -> dict[str, Any]:
    version = "autoscaling/v2" if kind == "HorizontalPodAutoscaler" else "apps/v1"
    metadata = {"name": name, "namespace": "n"}
    outputs |= {"apiVersion": version, "kind": kind, "metadata": metadata}
    return {"type": "", "id": "", "provider": "", "outputs": outputs}


def _deployment(name: str, *, declared: int, recorded: int) -> dict[str, Any]:
    spec = {"spec": {"replicas": declared}}
    return _resource("Deployment", name, spec={"replicas": recorded}, __inputs=spec)


_RESOURCES = [
    # The update recorded the number of the autoscaler, which it then deleted.
    _deployment("lowered", declared=3, recorded=1),
    _deployment("raised", declared=1, recorded=1),
    _deployment("same", declared=2, recorded=2),
    _deployment("cold", declared=0, recorded=0),
    _deployment("scaled", declared=1, recorded=4),
    _resource("HorizontalPodAutoscaler", "scaled", spec={"scaleTargetRef": {"name": "scaled"}}),
    {"type": "pulumi:pulumi:Stack", "id": "", "provider": "", "outputs": {}},
]
_ACTUAL = {"lowered": 1, "raised": 4, "same": 2, "cold": 0, "scaled": 4, "of-someone-else": 5}


@pytest.fixture
def patches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    sent: list[tuple[str, Any]] = []

    def list_deployments(_client: Any, path: str) -> Any:
        assert path == "/apis/apps/v1/namespaces/n/deployments"
        return {
            "items": [
                {"metadata": {"name": name, "resourceVersion": "7"}, "spec": {"replicas": number}}
                for name, number in _ACTUAL.items()
            ]
        }

    def send(_client: Any, method: str, path: str, body: Any) -> None:
        sent.append((f"{method} {path.rpartition('/')[2]}", body))

    monkeypatch.setattr(fixed_replicas, "get_json", list_deployments)
    monkeypatch.setattr(fixed_replicas, "send_json", send)
    monkeypatch.setattr(restored_objects, "find_changes", lambda *_: iter(()))
    monkeypatch.setattr(ClusterAccess, "create_client", lambda _: None)
    return sent


@_PLATFORMS
def test_fixed_number_replaces_the_number_of_a_deleted_autoscaler(
    platform: Platform, patches: list[tuple[str, Any]]
) -> None:
    lines = platform.finish_update(_context(), _RESOURCES)
    assert lines == [
        "Deployment lowered: its autoscaler left 1 replicas; set to 3",
        "Deployment raised: its autoscaler left 4 replicas; set to 1",
    ]
    assert patches == [
        (
            f"PATCH {name}",
            {"metadata": {"resourceVersion": "7"}, "spec": {"replicas": number}},
        )
        for name, number in (("lowered", 3), ("raised", 1))
    ]


def test_replicas_that_cannot_be_read_are_an_error(
    patches: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_client: Any, _path: str) -> Any:
        raise ApiException(status=500, reason="Internal")

    monkeypatch.setattr(fixed_replicas, "get_json", fail)
    with pytest.raises(OperationError, match="Could not check the number of replicas"):
        KUBERNETES.finish_update(_context(), _RESOURCES)


@_PLATFORMS
def test_what_an_update_did_not_restore_is_restored_at_its_end_also_in_sites(
    platform: Platform, patches: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def restore(access: ClusterAccess, resources: list[dict[str, Any]]) -> list[str]:
        if access.kubeconfig == "/rejecting":
            raise restored_objects.NotRestoredError("Role a could not be restored")
        return [f"Restored: {one['outputs']['kind']}" for one in resources]

    monkeypatch.setattr(restored_objects, "restore_changed_objects", restore)
    context = _context()
    site: Any = SimpleNamespace(kubeconfig="/plant", context=None)
    context.spec.edge.sites["plant"] = site
    urn = "urn:pulumi:prod::shop::pulumi:providers:kubernetes::plant-cluster::id"
    resources = [_RESOURCES[2], _RESOURCES[5] | {"provider": urn}]
    assert platform.finish_update(context, resources) == [
        "Restored: Deployment",
        "site plant: Restored: HorizontalPodAutoscaler",
    ]
    site.kubeconfig = "/rejecting"
    with pytest.raises(OperationError, match="Site plant: Role a could not be restored"):
        platform.finish_update(context, resources)


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ClusterAccess, set[str]]]:
    """The calls that look for pods that crash again and again, with what they regard as known."""
    calls: list[tuple[ClusterAccess, set[str]]] = []

    def find(access: ClusterAccess, namespace: str, known: set[str]) -> list[str]:
        assert namespace == "n"
        calls.append((access, known))
        return ["digits-1: CrashLoopBackOff"]

    monkeypatch.setattr(observe, "list_pod_uids", lambda _access, _namespace: {"old"})
    monkeypatch.setattr(observe, "find_hopeless_pods", find)
    return calls


@_PLATFORMS
def test_update_is_watched_for_pods_that_crash_again_and_again(
    platform: Platform, crashing: list[tuple[ClusterAccess, set[str]]]
) -> None:
    find = platform.watch_update(_context())
    assert find is not None
    assert find() == ["digits-1: CrashLoopBackOff"]
    assert [(access.kubeconfig, known) for access, known in crashing] == [("/kubeconfig", {"old"})]


class _Eks:
    """The EKS API: a list of answers to `describe_cluster`, the last of which repeats."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)

    def __call__(self, **_: Any) -> "_Eks":
        return self

    def client(self, _name: str, **_: Any) -> "_Eks":
        return self

    def describe_cluster(self, name: str) -> Any:
        error = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if error is not None:
            raise ClientError({"Error": {"Code": error, "Message": name}}, "DescribeCluster")
        return {"cluster": {"endpoint": "https://eks", "certificateAuthority": {"data": "x"}}}


def test_first_update_on_aws_is_watched_once_its_cluster_exists(
    crashing: list[tuple[ClusterAccess, set[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = "ResourceNotFoundException"
    monkeypatch.setattr("boto3.Session", _Eks(missing, missing, None))
    find = AWS.watch_update(_context(None))
    assert find is not None
    assert find() == []
    assert find() == ["digits-1: CrashLoopBackOff"]
    ((access, known),) = crashing
    assert access.content is not None
    assert known == set()


def test_update_on_aws_is_not_watched_without_permission(
    crashing: list[tuple[ClusterAccess, set[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the list of older pods, a pod that crashed before would end the update."""
    monkeypatch.setattr("boto3.Session", _Eks("AccessDeniedException"))
    assert AWS.watch_update(_context(None)) is None
    with pytest.raises(SpecError) as caught:
        aws_access.eks_access("prod", {"region": "eu-central-1"})
    assert not isinstance(caught.value, aws_access.MissingClusterError)


def test_failed_update_is_repaired_but_a_declined_one_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both end with a failure of the engine. Only an update that started is in the history."""
    finished: list[StackContext] = []

    def finish(context: StackContext) -> bool:
        finished.append(context)
        return True

    monkeypatch.setattr(stacks, "_finish_update", finish)
    entries = ["first"]
    stack: Any = SimpleNamespace(history=lambda: entries)

    def decline(is_again: bool) -> int:
        assert not is_again
        return 1

    assert stacks.run_update(stack, _context(), decline, has_drifted=True) == 1
    assert finished == []

    def fail_first(is_again: bool) -> int:
        entries.append("another")
        return 0 if is_again else 1

    assert stacks.run_update(stack, _context(), fail_first, has_drifted=True) == 0
    assert len(finished) == 1
    assert stacks.run_update(stack, _context(), fail_first, has_drifted=False) == 1
    assert len(finished) == 1
