"""Tests of failures on a cluster: Berth reports each one in time, and traffic continues."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pulumi_berth.images import layers
from pulumi_berth.oci import documents
from pulumi_berth.oci.descriptor import parse_descriptor
from pulumi_berth.oci.layer import write_layer
from pulumi_berth.oci.registry import Repository, split_reference
from pulumi_berth.oci.tree import read_tree
from tests.cluster.cluster import Cluster
from tests.cluster.stacks import build_stack_file, create_project, restore_config
from tests.engine.project import Project, wait_for

_NAMESPACE = "faults"


@pytest.fixture(scope="module")
def deployed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A stack with two models in one version. Pods of later updates must be ready within 25 s."""
    content = build_stack_file(cluster, _NAMESPACE)
    content["config"]["berth:models"]["digits"] |= {"versions": {"1": {}}, "traffic": {}}
    project = create_project(tmp_path_factory.mktemp("faults"), "faults", content)
    project.berth("up", "--yes")
    project.edit(lambda config: config["berth:kubernetes"].update(ready_timeout_seconds=25))
    yield project
    cluster.delete_namespaces(_NAMESPACE)


@pytest.fixture
def stack(deployed: Project) -> Iterator[Project]:
    """The stack, restored after each test."""
    with restore_config(deployed):
        yield deployed


def _add_version_2(project: Project, entry: dict[str, Any]) -> None:
    def change(config: Any) -> None:
        digits = config["berth:models"]["digits"]
        digits["versions"] = {"1": {}, "2": entry}
        digits["traffic"] = {"1": 100, "2": 0}

    project.edit(change)


def _remove_version_2(project: Project) -> None:
    def change(config: Any) -> None:
        digits = config["berth:models"]["digits"]
        digits["versions"] = {"1": {}}
        digits["traffic"] = {}

    project.edit(change)
    project.berth("up", "--yes")


def _expect_response_from_version_1(project: Project) -> None:
    assert project.json("invoke", "digits")["model_version"] == "1"


@dataclass(frozen=True)
class FailedUpdate:
    """An update in which three berths fail for different reasons.

    Attributes:
        output: Error output of `berth up`.
        status: Output of `berth status` after the failed update.
        responses: Version that responded after the failed update, per model.
    """

    output: str
    status: Any
    responses: dict[str, str]


@pytest.fixture(scope="module")
def failed_update(deployed: Project, tmp_path_factory: pytest.TempPathFactory) -> FailedUpdate:
    """One update waits for all failures at once, instead of one update per failure.

    digits/2 has a tampered model file, digits/3 has no image in the registry, and no node has
    enough capacity for the new replicas of breast-cancer/1.
    """
    tampered_digest = _push_tampered_image(deployed, tmp_path_factory.mktemp("tampered") / "2")
    _copy_version(deployed, "2", "3")

    def change(config: Any) -> None:
        digits, cancer = (config["berth:models"][name] for name in ("digits", "breast-cancer"))
        digits["versions"] = {
            "1": {},
            "2": {"image": tampered_digest},
            "3": {"image": f"sha256:{'0' * 64}"},
        }
        digits["traffic"] = {"1": 100, "2": 0, "3": 0}
        cancer["resources"] = {"cpu": "190", "memory": "192Mi"}

    with restore_config(deployed):
        deployed.edit(change)
        output = deployed.berth("up", "--yes", code=1).stderr
        return FailedUpdate(
            output=output,
            status=deployed.json("status"),
            responses={
                model: deployed.json("invoke", model)["model_version"]
                for model in ("digits", "breast-cancer")
            },
        )


def _push_tampered_image(project: Project, tampered: Path) -> str:
    """Push an image whose model file differs from its card by one byte, and return its digest."""
    tampered.mkdir()
    for source in (project.root / "models" / "digits" / "2").iterdir():
        (tampered / source.name).write_bytes(source.read_bytes())
    model = tampered / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\xff")
    layer = write_layer(read_tree(tampered, under=layers.MODEL), tampered.with_suffix(".tar.gz"))
    name, digest = split_reference(
        project.json("status")["models"]["digits"]["versions"]["1"]["image"]
    )
    repository = Repository(name=name, plain_http=True)
    manifest = json.loads(repository.manifest(digest).data)
    if "manifests" in manifest:
        manifest = json.loads(repository.manifest(manifest["manifests"][0]["digest"]).data)
    config = repository.json_blob(parse_descriptor(manifest["config"]))
    config["rootfs"]["diff_ids"].append(layer.diff_id)
    document = documents.encode_document(documents.CONFIG, config)
    entry = {"mediaType": documents.LAYER, "digest": layer.digest, "size": layer.size}
    changed = documents.encode_document(
        documents.MANIFEST,
        {**manifest, "config": document.descriptor, "layers": [*manifest["layers"], entry]},
    )
    repository.push_file(layer.path, layer.digest)
    repository.push_document(document)
    repository.push_manifest(changed, "tampered")
    return changed.digest


def _copy_version(project: Project, source: str, target: str) -> None:
    """Copy a version of digits under another name."""
    versions = project.root / "models" / "digits"
    shutil.copytree(versions / source, versions / target)
    card = versions / target / "model.yaml"
    yaml = YAML()
    content = yaml.load(card.read_text())
    content["version"] = target
    yaml.dump(content, card)


def test_tampered_model_is_reported_and_the_old_version_keeps_serving(
    failed_update: FailedUpdate,
) -> None:
    (report,) = _find_reports(failed_update, "digits-2")
    assert "model.onnx" in report
    assert "the files differ from model.yaml" in report
    assert failed_update.responses["digits"] == "1"


def test_missing_image_is_reported_with_a_remedy(failed_update: FailedUpdate) -> None:
    (report,) = _find_reports(failed_update, "digits-3")
    assert "ImagePull" in report
    assert "Check that the image is in the registry" in report
    versions = failed_update.status["models"]["digits"]["versions"]
    assert versions["1"]["state"] == "ready"
    assert "ImagePull" in versions["3"]["state"]
    assert failed_update.responses["digits"] == "1"


def test_resources_that_no_node_has_are_reported_with_a_remedy(
    failed_update: FailedUpdate,
) -> None:
    (report,) = _find_reports(failed_update, "breast-cancer-1")
    assert "breast-cancer-1: Unschedulable" in report
    assert "Lower resources or replicas, or add nodes" in report
    # The old replica keeps serving.
    assert failed_update.responses["breast-cancer"] == "1"


def _find_reports(update: FailedUpdate, berth: str) -> list[str]:
    """Return the lines with which Berth explains why a berth is not ready."""
    lines = update.output.splitlines()
    return [line for line in lines if f"{berth}: " in line and "To do:" in line]


def test_rejection_by_an_admission_policy_is_reported(stack: Project, cluster: Cluster) -> None:
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-digits-2"},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {
                    "matchLabels": {"kubernetes.io/metadata.name": _NAMESPACE}
                },
                "resourceRules": [
                    {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"],
                     "resources": ["deployments"]}
                ]
            },
            "validations": [
                {"expression": "object.metadata.name != 'digits-2'",
                 "message": "digits-2 is not allowed in this cluster"}
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
    _add_version_2(stack, {})
    try:
        # The API server enforces a new policy after a moment.
        wait_for(
            lambda: "not allowed" in cluster.kubectl(
                "create", "deployment", "digits-2", "--image=x", "-n", _NAMESPACE,
                "--dry-run=server", code=None,
            )
        )  # fmt: skip
        failed = stack.berth("up", "--yes", code=1)
        assert "digits-2 is not allowed in this cluster" in failed.stdout + failed.stderr
        _expect_response_from_version_1(stack)
    finally:
        kinds = "validatingadmissionpolicybinding,validatingadmissionpolicy"
        cluster.kubectl("delete", kinds, "no-digits-2")
    _remove_version_2(stack)


def test_unreachable_cluster_is_reported(cluster: Cluster, stack: Project, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    content = cluster.kubeconfig.read_text()
    kubeconfig.write_text(content.replace(f"{cluster.node}:6443", "127.0.0.1:1"))

    def use_kubeconfig(path: Path) -> None:
        stack.edit(lambda config: config["berth:kubernetes"].update(kubeconfig=str(path)))

    use_kubeconfig(kubeconfig)
    failed = stack.berth("up", "--yes", code=2).stderr
    assert "the cluster at https://127.0.0.1:1 did not respond" in failed
    assert "kubectl get nodes" in failed
    use_kubeconfig(cluster.kubeconfig)
    stack.berth("preview", "--expect-no-changes")


def test_refresh_and_up_recreate_a_deleted_deployment(stack: Project, cluster: Cluster) -> None:
    cluster.kubectl("delete", "deployment", "digits-1", "-n", _NAMESPACE, "--wait")
    assert stack.json("status")["models"]["digits"]["versions"]["1"]["state"] == "missing"
    stack.pulumi("refresh", "--yes")
    stack.berth("up", "--yes")
    _expect_response_from_version_1(stack)


def test_no_file_contains_an_api_key_in_plaintext(stack: Project) -> None:
    key = stack.key()
    for path in (stack.root / ".berth").rglob("*"):
        if path.is_file():
            assert key not in path.read_text(errors="replace"), path
    assert key not in json.dumps(stack.json("status"))
