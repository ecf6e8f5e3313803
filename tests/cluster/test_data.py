"""Tests of datasets: push, mount in a model's pod, verify, and promote without the model."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from berth_data.manifest import MANIFEST_NAME
from tests.aws.emulation import Emulation, emulated, skip_reason
from tests.cluster.cluster import Cluster
from tests.cluster.stacks import SMALL, build_stack_file, create_project
from tests.engine.project import Project

_NAMESPACE = "datasets"
_PRINT_FILES = (
    "print(open('/data/prices/prices.csv').read(), open('/data/prices/nested/more.csv').read())"
)


@pytest.fixture(scope="module")
def claim_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the node that the claim contains."""
    directory = tmp_path_factory.mktemp("claim")
    # Only the test's user can read pytest's directories, and pods run as another user.
    for path in (directory, *directory.parents[:2]):
        path.chmod(0o755)
    return directory


@pytest.fixture(scope="module")
def deployed(
    cluster: Cluster, claim_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A stack with one model, and a claim in its namespace."""
    content = build_stack_file(cluster, _NAMESPACE)
    content["config"]["berth:models"] = {"digits": {"versions": {"1": {}}, "resources": SMALL}}
    project = create_project(tmp_path_factory.mktemp("datasets"), "datasets", content)
    project.berth("up", "--yes")
    cluster.apply(
        {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "tables"},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"],
                "storageClassName": "", "hostPath": {"path": str(claim_dir)},
                "claimRef": {"namespace": _NAMESPACE, "name": "tables"},
            },
        },
        {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "tables", "namespace": _NAMESPACE},
            "spec": {
                "accessModes": ["ReadOnlyMany"], "storageClassName": "", "volumeName": "tables",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
    )  # fmt: skip
    yield project
    cluster.delete_namespaces(_NAMESPACE)


@pytest.fixture
def stack(deployed: Project) -> Iterator[Project]:
    """The stack, whose configuration file contains no dataset. Each test deploys its own."""
    yield deployed
    deployed.edit(lambda config: config.pop("berth:data", None))


def _push(project: Project, source_root: Path, target: str, version: str, text: str) -> str:
    """Push a dataset version whose file prices.csv contains `text`, and return its digest."""
    source = source_root / f"source-{version}"
    (source / "nested").mkdir(parents=True, exist_ok=True)
    (source / "prices.csv").write_text(text)
    (source / "nested" / "more.csv").write_text("more")
    options = ["--plain-http"] if target.startswith("oci") else []
    result = project.json("data", "push", str(source), target, "--version", version, *options)
    return str(result["digest"])


def _run_in_pod(cluster: Cluster, code: str) -> str:
    """Run Python code in the serving container and return its output."""
    return cluster.kubectl(
        "exec", "-n", _NAMESPACE, "deploy/digits-1", "-c", "serving", "--", "/usr/bin/python3",
        "-c", code, code=None,
    )  # fmt: skip


def _mount_datasets(**datasets: Any) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        config["berth:data"] = {
            "datasets": {name: {**entry, "models": ["digits"]} for name, entry in datasets.items()}
        }

    return change


def _get_image(cluster: Cluster) -> str:
    deployment = cluster.get("deployment", "digits-1", "-n", _NAMESPACE)
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def test_model_reads_the_pushed_version_and_then_the_promoted_version(
    stack: Project, cluster: Cluster, tmp_path: Path
) -> None:
    target = f"oci://{cluster.registry}/datasets/prices"
    digest = _push(stack, tmp_path, target, "1", "first")
    _push(stack, tmp_path, target, "2", "second")
    image = _get_image(cluster)
    stack.edit(_mount_datasets(prices={"version": "1", "digest": digest, "source": target}))
    stack.berth("up", "--yes")
    assert _run_in_pod(cluster, _PRINT_FILES) == "first more\n"
    assert "Read-only file system" in _run_in_pod(cluster, "open('/data/prices/x', 'w')")

    # Another stack reads version 2. Promotion changes only that line, and the pods' data.
    prices = {"version": "2", "source": target, "models": ["digits"]}
    config = {
        "berth:platform": "kubernetes",
        "berth:models": {"digits": {"versions": {"1": {}}}},
        "berth:registry": {"url": "registry.example.com/x"},
        "berth:data": {"datasets": {"prices": prices}},
    }
    (stack.root / "Pulumi.other.yaml").write_text(json.dumps({"config": config}))
    promoted = json.loads(
        stack.berth("data", "promote", "prices", "other", "datasets", "--json").stdout
    )
    assert (promoted["from"], promoted["to"]) == ("1", "2")
    stack.berth("up", "--yes")
    assert _run_in_pod(cluster, _PRINT_FILES) == "second more\n"
    assert _get_image(cluster) == image


def test_push_with_other_content_is_rejected_for_an_existing_version(
    stack: Project, cluster: Cluster, tmp_path: Path
) -> None:
    target = f"oci://{cluster.registry}/datasets/fixed"
    digest = _push(stack, tmp_path, target, "1", "first")
    assert _push(stack, tmp_path, target, "1", "first") == digest
    (tmp_path / "source-1" / "prices.csv").write_text("other")
    rejected = stack.berth(
        "data", "push", str(tmp_path / "source-1"), target, "--version", "1", "--plain-http", code=1
    )
    assert "Use a new version" in rejected.stderr


def test_missing_version_is_reported_before_anything_changes(
    stack: Project, cluster: Cluster
) -> None:
    before = cluster.get("deployment", "digits-1", "-n", _NAMESPACE)["metadata"]["generation"]
    source = f"oci://{cluster.registry}/datasets/missing"
    stack.edit(_mount_datasets(missing={"version": "1", "source": source}))
    rejected = stack.berth("up", "--yes", code=1)
    assert "berth:data.datasets.missing.version" in rejected.stdout + rejected.stderr
    assert "berth data push" in rejected.stdout + rejected.stderr
    after = cluster.get("deployment", "digits-1", "-n", _NAMESPACE)["metadata"]["generation"]
    assert after == before


@pytest.fixture
def aws(stack: Project, tmp_path: Path) -> Iterator[Emulation]:
    """Emulated AWS that the stack's commands use."""
    if reason := skip_reason():
        pytest.skip(reason)
    with emulated(tmp_path / "emulator.log") as emulation:
        stack.environment |= emulation.environment()
        yield emulation
    for key in emulation.environment():
        stack.environment.pop(key)


def test_cluster_needs_no_access_to_the_bucket_of_a_dataset(
    stack: Project, cluster: Cluster, aws: Emulation, tmp_path: Path
) -> None:
    aws.client("s3").create_bucket(Bucket="reading")
    target = "s3://reading/datasets/prices"
    entry = {"version": "1", "source": target}
    entry["digest"] = _push(stack, tmp_path, target, "1", "in a bucket")
    stack.edit(_mount_datasets(prices=entry))
    stack.berth("up", "--yes")
    content = _run_in_pod(cluster, "print(open('/data/prices/prices.csv').read())")
    assert content == "in a bucket\n"
    assert "Read-only file system" in _run_in_pod(cluster, "open('/data/prices/x', 'w')")

    stack.edit(_mount_datasets(prices=entry | {"version": "2", "digest": None}))
    rejected = stack.berth("up", "--yes", code=1)
    assert f"{target} has no version 2" in rejected.stdout + rejected.stderr


def test_dataset_on_a_claim_is_verified_before_the_model_starts(
    stack: Project, cluster: Cluster, claim_dir: Path, tmp_path: Path
) -> None:
    digest = _push(stack, tmp_path, str(claim_dir / "all"), "1", "on the claim")
    entry = {"version": "1", "digest": digest, "source": "pvc://tables/all"}
    stack.edit(_mount_datasets(tables=entry))
    stack.berth("up", "--yes")
    content = _run_in_pod(cluster, "print(open('/data/tables/prices.csv').read())")
    assert content == "on the claim\n"
    assert "Read-only file system" in _run_in_pod(cluster, "open('/data/tables/x', 'w')")

    _push(stack, tmp_path, str(claim_dir / "all"), "2", "then changed")
    manifest = json.loads((claim_dir / "all" / "2" / MANIFEST_NAME).read_text())
    assert set(manifest["files"]) == {"prices.csv", "nested/more.csv"}
    (claim_dir / "all" / "2" / "prices.csv").write_text("tampered")
    stack.edit(_mount_datasets(tables=entry | {"version": "2", "digest": None}))
    failed = stack.berth("up", "--yes", code=1).stderr
    assert "digits-1: " in failed
    assert "prices.csv: Checksum mismatch" in failed
    assert stack.json("invoke", "digits")["model_version"] == "1"
