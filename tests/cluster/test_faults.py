"""What can go wrong on a cluster: told within a bounded time, with what to do; nothing is lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pulumi_berth.images import layers
from pulumi_berth.images.base import USER
from pulumi_berth.images.scan import Scan
from pulumi_berth.oci import oci
from pulumi_berth.oci.build import Image, build
from pulumi_berth.oci.registry import Repository, split_reference
from tests.cluster.cluster import Cluster
from tests.cluster.stacks import new_project, stack_file
from tests.engine.project import Project, eventually

_NAMESPACE = "faulty"


@pytest.fixture(scope="module")
def stack(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """One model in one version, which gets 25 seconds to become ready."""
    content = stack_file(cluster, _NAMESPACE)
    digits = content["config"]["berth:models"].pop("digits")
    content["config"]["berth:models"] = {"digits": digits | {"versions": {"1": {}}, "traffic": {}}}
    content["config"]["berth:kubernetes"]["ready_timeout_seconds"] = 25
    project = new_project(tmp_path_factory.mktemp("faulty"), "faulty", content)
    project.berth("up", "--yes")
    yield project
    cluster.drop(_NAMESPACE)


def _with_version_2(project: Project, entry: dict[str, Any], **more: Any) -> None:
    def change(config: Any) -> None:
        digits = config["berth:models"]["digits"]
        digits["versions"] = {"1": {}, "2": entry}
        digits["traffic"] = {"1": 100, "2": 0}
        digits |= more

    project.edit(change)


def _without_it(project: Project) -> None:
    def change(config: Any) -> None:
        digits = config["berth:models"]["digits"]
        digits["versions"] = {"1": {}}
        digits["traffic"] = {}

    project.edit(change)
    project.berth("up", "--yes")


def _version_1_answers(project: Project) -> None:
    assert project.json("invoke", "digits")["model_version"] == "1"


def test_a_tampered_model_is_told_and_the_old_version_serves_on(
    stack: Project, cluster: Cluster, tmp_path: Path
) -> None:
    """An image whose model file differs from its card by one byte."""
    tampered = tmp_path / "2"
    tampered.mkdir()
    for source in (stack.root / "models" / "digits" / "2").iterdir():
        (tampered / source.name).write_bytes(source.read_bytes())
    model = tampered / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\xff")
    base = stack.json("status")["models"]["digits"]["versions"]["1"]["image"]
    name, digest = split_reference(base)
    repository = Repository(name=name, plain_http=True)
    built = build(
        Image(
            repository=repository, tag="tampered", base=f"{name}@{digest}",
            layers={"amd64": [("model", layers.model_layer(tampered, "tampered"))]},
            run=oci.RunConfig(
                user=f"{USER}:{USER}", environment={}, labels={},
                entrypoint=["/usr/bin/python3", "-m", "berth_serving"],
            ),
        ),
        form="spdx", scan=Scan(command=["true"], fail_on="high", ignore_unfixed=False),
    )  # fmt: skip
    _with_version_2(stack, {"image": built.digest})
    failed = stack.berth("up", "--yes", code=1).stderr
    assert "digits-2: " in failed
    assert "model.onnx" in failed
    assert "sha256" in failed
    _version_1_answers(stack)
    _without_it(stack)


def test_an_image_that_is_not_there_is_told(stack: Project) -> None:
    _with_version_2(stack, {"image": f"sha256:{'0' * 64}"})
    failed = stack.berth("up", "--yes", code=1).stderr
    assert "digits-2: " in failed
    assert "ImagePull" in failed
    assert "Check that the image is in the registry" in failed
    _version_1_answers(stack)
    assert stack.json("status")["models"]["digits"]["versions"]["1"]["state"] == "ready"
    _without_it(stack)


def test_resources_that_no_node_has_are_told(stack: Project) -> None:
    def change(config: Any) -> None:
        config["berth:models"]["digits"]["resources"] = {"cpu": "190", "memory": "192Mi"}

    before = (stack.root / "Pulumi.faulty.yaml").read_text()
    stack.edit(change)
    failed = stack.berth("up", "--yes", code=1).stderr
    assert "digits-1: Unschedulable" in failed
    assert "Lower resources or replicas, or add nodes" in failed
    _version_1_answers(stack)
    (stack.root / "Pulumi.faulty.yaml").write_text(before)
    stack.berth("up", "--yes")


def test_a_refused_admission_is_told(stack: Project, cluster: Cluster) -> None:
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-digits-2"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"],
                     "resources": ["deployments"]}
                ]
            },
            "validations": [
                {"expression": "object.metadata.name != 'digits-2'",
                 "message": "digits-2 is not wanted in this cluster"}
            ],
        },
    }  # fmt: skip
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-digits-2"},
        "spec": {"policyName": "no-digits-2", "validationActions": ["Deny"]},
    }
    cluster.apply(policy, binding)
    _with_version_2(stack, {})
    try:
        eventually(
            lambda: "not wanted" in cluster.run(
                "create", "deployment", "digits-2", "--image=x", "-n", _NAMESPACE,
                "--dry-run=server", code=None,
            )
        )  # fmt: skip
        failed = stack.berth("up", "--yes", code=1)
        assert "digits-2 is not wanted in this cluster" in failed.stdout + failed.stderr
        _version_1_answers(stack)
    finally:
        cluster.run("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy",
                    "no-digits-2")  # fmt: skip
    _without_it(stack)


def test_a_cluster_that_does_not_answer_is_told(
    cluster: Cluster, stack: Project, tmp_path: Path
) -> None:
    content = cluster.kubeconfig.read_text()
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(content.replace(f"{cluster.node}:6443", "127.0.0.1:1"))
    before = (stack.root / "Pulumi.faulty.yaml").read_text()
    stack.edit(lambda config: config["berth:kubernetes"].update(kubeconfig=str(nowhere)))
    failed = stack.berth("up", "--yes", code=2).stderr
    assert "the cluster at https://127.0.0.1:1 did not respond" in failed
    assert "kubectl get nodes" in failed
    (stack.root / "Pulumi.faulty.yaml").write_text(before)
    stack.berth("preview", "--expect-no-changes")


def test_what_was_deleted_by_hand_comes_back(stack: Project, cluster: Cluster) -> None:
    cluster.run("delete", "deployment", "digits-1", "-n", _NAMESPACE, "--wait")
    assert stack.json("status")["models"]["digits"]["versions"]["1"]["state"] == "missing"
    stack.pulumi("refresh", "--yes")
    stack.berth("up", "--yes")
    _version_1_answers(stack)


def test_no_key_in_clear_in_any_file(stack: Project) -> None:
    key = stack.key()
    for path in (stack.root / ".berth").rglob("*"):
        if path.is_file():
            assert key not in path.read_text(errors="replace"), path
    assert key not in json.dumps(stack.json("status"))
