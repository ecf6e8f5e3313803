"""Sets of data: pushed, read by a model's pod, checked, and promoted apart from the model."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from berth_data.manifest import NAME
from tests.aws.emulation import Emulation, emulated, why_not
from tests.cluster.cluster import Cluster
from tests.cluster.stacks import new_project, stack_file
from tests.engine.project import Project

_NAMESPACE = "reading"


@pytest.fixture(scope="module")
def claim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lies on the claim: a folder of the node."""
    folder = tmp_path_factory.mktemp("claim")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)  # pytest's are its user's alone, and pods are another
    return folder


@pytest.fixture(scope="module")
def stack(
    cluster: Cluster, claim: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    content = stack_file(cluster, _NAMESPACE)
    content["config"]["berth:models"] = {
        "digits": {"versions": {"1": {}}, "resources": {"cpu": "50m", "memory": "192Mi"}}
    }
    content["config"]["berth:kubernetes"]["ready_timeout_seconds"] = 30
    project = new_project(tmp_path_factory.mktemp("reading"), "reading", content)
    project.berth("up", "--yes")
    cluster.apply(
        {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "tables"},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"],
                "storageClassName": "", "hostPath": {"path": str(claim)},
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
    cluster.drop(_NAMESPACE)


def _push(project: Project, folder: Path, target: str, version: str, text: str) -> str:
    source = folder / f"source-{version}"
    (source / "nested").mkdir(parents=True, exist_ok=True)
    (source / "prices.csv").write_text(text)
    (source / "nested" / "more.csv").write_text("more")
    more = ["--plain-http"] if target.startswith("oci") else []
    found = project.json("data", "push", str(source), target, "--version", version, *more)
    return str(found["digest"])


def _read(cluster: Cluster, code: str) -> str:
    return cluster.run(
        "exec", "-n", _NAMESPACE, "deploy/digits-1", "-c", "serving", "--", "/usr/bin/python3",
        "-c", code, code=None,
    )  # fmt: skip


def _reads(**sets: Any) -> Any:
    def change(config: Any) -> None:
        config["berth:data"] = {
            "datasets": {name: {**entry, "models": ["digits"]} for name, entry in sets.items()}
        }

    return change


def _image(cluster: Cluster) -> str:
    deployment = cluster.get("deployment", "digits-1", "-n", _NAMESPACE)
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def test_a_model_reads_the_pushed_version_and_then_the_promoted_one(
    stack: Project, cluster: Cluster, tmp_path: Path
) -> None:
    target = f"oci://{cluster.registry}/sets/prices"
    first = _push(stack, tmp_path, target, "1", "first")
    _push(stack, tmp_path, target, "2", "second")
    serving = _image(cluster)
    stack.edit(_reads(prices={"version": "1", "digest": first, "source": target}))
    stack.berth("up", "--yes")
    shown = (
        "print(open('/data/prices/prices.csv').read(), open('/data/prices/nested/more.csv').read())"
    )
    assert _read(cluster, shown) == "first more\n"
    assert "Read-only file system" in _read(cluster, "open('/data/prices/x', 'w')")

    # The other stack reads version 2; promoting it changes that line, and the pods' data alone.
    other = stack.root / "Pulumi.other.yaml"
    content = json.loads(json.dumps({"config": {}}))
    content["config"] = {
        "berth:platform": "kubernetes", "berth:models": {"digits": {"versions": {"1": {}}}},
        "berth:registry": {"url": "registry.example.com/x"},
        "berth:data": {"datasets": {"prices": {"version": "2", "source": target,
                                           "models": ["digits"]}}},
    }  # fmt: skip
    other.write_text(json.dumps(content))
    promoted = json.loads(
        stack.berth("data", "promote", "prices", "other", "reading", "--json").stdout
    )
    assert (promoted["from"], promoted["to"]) == ("1", "2")
    stack.berth("up", "--yes")
    assert _read(cluster, shown) == "second more\n"
    assert _image(cluster) == serving


def test_a_version_is_never_changed(stack: Project, cluster: Cluster, tmp_path: Path) -> None:
    target = f"oci://{cluster.registry}/sets/fixed"
    digest = _push(stack, tmp_path, target, "1", "first")
    assert _push(stack, tmp_path, target, "1", "first") == digest
    (tmp_path / "source-1" / "prices.csv").write_text("other")
    refused = stack.berth(
        "data", "push", str(tmp_path / "source-1"), target, "--version", "1", "--plain-http", code=1
    )
    assert "give these a new version" in refused.stderr


def test_a_version_that_is_not_there_is_told_before_anything_changes(
    stack: Project, cluster: Cluster
) -> None:
    before = (stack.root / "Pulumi.reading.yaml").read_text()
    stack.edit(_reads(nobody={"version": "1", "source": f"oci://{cluster.registry}/sets/nobody"}))
    refused = stack.berth("up", "--yes", code=1)
    assert "berth:data.datasets.nobody.version" in refused.stdout + refused.stderr
    assert "berth data push" in refused.stdout + refused.stderr
    (stack.root / "Pulumi.reading.yaml").write_text(before)
    stack.berth("up", "--yes")


@pytest.fixture
def aws(stack: Project, tmp_path: Path) -> Iterator[Emulation]:
    if reason := why_not():
        pytest.skip(reason)
    with emulated(tmp_path / "emulator.log") as found:
        stack.environment |= found.environment()
        yield found
    for key in found.environment():
        stack.environment.pop(key)


def test_a_set_in_a_bucket_needs_no_way_there_from_the_cluster(
    stack: Project, cluster: Cluster, aws: Emulation, tmp_path: Path
) -> None:
    aws.client("s3").create_bucket(Bucket="reading")
    target = "s3://reading/sets/prices"
    entry = {"version": "1", "source": target}
    entry["digest"] = _push(stack, tmp_path, target, "1", "in a bucket")
    stack.edit(_reads(prices=entry))
    stack.berth("up", "--yes")
    assert _read(cluster, "print(open('/data/prices/prices.csv').read())") == "in a bucket\n"
    assert "Read-only file system" in _read(cluster, "open('/data/prices/x', 'w')")

    stack.edit(_reads(prices=entry | {"version": "2", "digest": None}))
    refused = stack.berth("up", "--yes", code=1)
    assert f"{target} has no version 2" in refused.stdout + refused.stderr
    stack.edit(_reads(prices=entry))


def test_what_lies_on_a_claim_is_checked_before_the_model_starts(
    stack: Project, cluster: Cluster, claim: Path, tmp_path: Path
) -> None:
    digest = _push(stack, tmp_path, str(claim / "all"), "1", "on the claim")
    entry = {"version": "1", "digest": digest, "source": "pvc://tables/all"}
    stack.edit(_reads(tables=entry))
    stack.berth("up", "--yes")
    assert _read(cluster, "print(open('/data/tables/prices.csv').read())") == "on the claim\n"
    assert "Read-only file system" in _read(cluster, "open('/data/tables/x', 'w')")

    _push(stack, tmp_path, str(claim / "all"), "2", "then changed")
    sealed = json.loads((claim / "all" / "2" / NAME).read_text())
    assert set(sealed["files"]) == {"prices.csv", "nested/more.csv"}
    (claim / "all" / "2" / "prices.csv").write_text("tampered")
    stack.edit(_reads(tables=entry | {"version": "2", "digest": None}))
    failed = stack.berth("up", "--yes", code=1).stderr
    assert "digits-1: " in failed
    assert "prices.csv: has the sha256" in failed
    assert stack.json("invoke", "digits")["model_version"] == "1"
    stack.edit(_reads(tables=entry))
    stack.berth("up", "--yes")
