"""What an earlier release ran and what of it is missing, with a real registry."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from berth.operations.completeness import (
    DatasetNeed,
    ReleaseNeeds,
    find_missing,
    format_completeness,
    read_needs,
)
from berth.operations.past_states import PastState, read_past_state
from berth.platforms.stack_context import StackContext
from berth.spec import load_file
from pulumi_berth.oci.registry import Repository, split_reference
from tests.docker_registry import delete_image, push_image, start_registry
from tests.unit.promotion_project import SOURCE_FILE, Project, create_project, registry_lines

_DEPLOYMENT = "kubernetes:apps/v1:Deployment"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with start_registry(tmp_path / "registry") as address:
        yield address


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    return create_project(tmp_path / "project")


def _open(project: Project, registry: str | None) -> StackContext:
    url = None if registry is None else f"{registry}/berth"
    platform = "local" if url is None else "kubernetes"
    project.path("dev").write_text(SOURCE_FILE.format(platform=platform) + registry_lines(url))
    return StackContext(root=project.root, stack="dev", spec=load_file(project.path("dev")))


def _built(reference: str, layers: list[dict[str, str]] | None = None) -> dict[str, Any]:
    repository = reference.partition("@")[0]
    outputs = {"repository": repository, "reference": reference, "layers": layers or []}
    return {"type": "pulumi-python:dynamic/berth:BuiltImage", "urn": reference, "outputs": outputs}


def _workload(*references: str) -> dict[str, Any]:
    containers = [{"image": reference} for reference in references]
    return {"type": _DEPLOYMENT, "urn": "d", "outputs": {}, "inputs": {"containers": containers}}


def test_image_that_somebody_deletes_from_the_registry_is_named(
    registry: str, project: Project, tmp_path: Path
) -> None:
    pinned, built, base = (
        push_image(Repository(name=f"{registry}/berth/{name}", plain_http=True), name)
        for name in ("digits", "gateway", "base")
    )
    component = {"type": "berth:images:Base", "urn": "c", "outputs": {"reference": base}}
    resources = [_built(built), _built(base), component, _workload(pinned, built)]
    needs = read_needs(PastState(outputs={}, resources=resources))
    assert needs.images == tuple(sorted([pinned, built]))
    context = _open(project, registry)
    assert find_missing(needs, context) == []
    delete_image(pinned)
    delete_image(built)
    missing = find_missing(needs, context)
    assert sorted(missing) == sorted(
        [
            f"image {pinned} is missing. Push it again with the same digest",
            f"image {built} is missing. A rollback builds an image of the same files",
        ]
    )
    assert format_completeness(missing).startswith("complete: no: image ")


def test_copy_is_restored_from_its_source_if_that_exists(registry: str, project: Project) -> None:
    source, copy = (
        push_image(Repository(name=f"{registry}/{name}", plain_http=True), "server")
        for name in ("team/server", "berth/server")
    )
    image = _built(copy)
    image["outputs"]["copy_of"] = source
    needs = read_needs(PastState(outputs={}, resources=[image, _workload(copy)]))
    context = _open(project, registry)
    delete_image(copy)
    assert find_missing(needs, context) == [
        f"image {copy} is missing. A rollback copies it again from {source}"
    ]
    delete_image(source)
    (missing,) = find_missing(needs, context)
    assert f"So is {source}, of which it is a copy" in missing


def test_registry_without_an_answer_is_no_complete_release(project: Project) -> None:
    image = f"127.0.0.1:9/berth/digits@sha256:{'1' * 64}"
    needs = ReleaseNeeds(images=(image,), models={})
    (line,) = find_missing(needs, _open(project, "127.0.0.1:9"))
    assert line == f"image {image} could not be checked: its registry gave no answer"


def test_dataset_version_that_is_gone_is_named(
    registry: str, project: Project, tmp_path: Path
) -> None:
    faces = Repository(name=f"{registry}/data/faces", plain_http=True)
    name, digest = split_reference(push_image(faces, "rows"))
    layer = {"kind": "dataset", "name": name, "digest": digest}
    built = f"{registry}/berth/data-faces@sha256:{'2' * 64}"
    needs = read_needs(PastState(outputs={}, resources=[_built(built, [layer])]))
    assert needs.datasets == (DatasetNeed(kind="dataset", name=name, digest=digest),)
    context = _open(project, registry)
    assert find_missing(needs, context) == []
    delete_image(f"{name}@{digest}")
    (missing,) = find_missing(needs, context)
    assert missing.startswith(f"dataset {name} with the digest {digest} is missing. Push the same")


def test_changed_and_removed_model_files_are_named_with_the_fix(project: Project) -> None:
    context = _open(project, None)
    outputs = project.outputs()
    needs = read_needs(PastState(outputs=outputs, resources=[]))
    assert find_missing(needs, context, commit="a" * 40) == []
    (project.root / "models" / "digits" / "2" / "model.onnx").unlink()
    card = project.root / "models" / "digits" / "1" / "model.yaml"
    expected = project.digest("1")
    card.write_text(f"# changed\n{card.read_text()}")
    changed, removed = find_missing(needs, context, commit="a" * 40)
    fix = "Restore it with 'git checkout aaaaaaaaaaaa -- models/digits"
    assert f"the release ran {expected}. {fix}/1'" in changed
    assert removed == f"model digits/2: models/digits/2/model.onnx is missing. {fix}/2'"


def test_state_after_an_earlier_update_is_read_from_the_backend(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    folder = project.root / ".berth" / "state" / ".pulumi" / "history" / "shop" / "dev"
    folder.mkdir(parents=True)
    for number in (1, 2):
        stack = {"type": "pulumi:pulumi:Stack", "urn": "s", "outputs": {"number": number}}
        checkpoint = {"checkpoint": {"latest": {"resources": [stack]}}}
        (folder / f"dev-{number}.history.json").write_text("{}")
        (folder / f"dev-{number}.checkpoint.json").write_text(json.dumps(checkpoint))
        (folder / f"dev-{number}.checkpoint.json.attrs").write_text("{}")
    state = read_past_state(project.root, "dev", 1)
    assert state is not None
    assert state.outputs == {"number": 1}
    assert read_past_state(project.root, "dev", 3) is None
    (folder / "dev-2.checkpoint.json").write_text("not JSON")
    assert read_past_state(project.root, "dev", 2) is None
