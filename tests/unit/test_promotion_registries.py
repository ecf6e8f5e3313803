"""`berth promote` between two real registries: images are copied by digest, or nothing changes."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from unittest.mock import create_autospec

import pytest
from click.testing import CliRunner, Result

from berth.cli.main import main
from berth.operations.stack import Stack
from berth.operations.state_file import RecordedState
from pulumi_berth.oci.registry import Repository, split_reference
from tests.docker_registry import delete_image, push_image, start_registry
from tests.unit.promotion_project import (
    SOURCE_FILE,
    TARGET_FILE,
    Project,
    create_project,
    registry_lines,
)

Promote = Callable[..., Result]


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The addresses of the registry of dev and of that of prod."""
    with start_registry(tmp_path / "dev") as source, start_registry(tmp_path / "prod") as target:
        yield source, target


@pytest.fixture
def project(tmp_path: Path, registries: tuple[str, str]) -> Project:
    """The stacks dev and prod with a registry each. dev runs images that its registry has."""
    (tmp_path / "project").mkdir()
    project = create_project(tmp_path / "project")
    source, target = registries
    project.write(
        SOURCE_FILE.format(platform="kubernetes") + registry_lines(f"{source}/berth"),
        TARGET_FILE.format(platform="docker") + registry_lines(f"{target}/team"),
    )
    for version in ("1", "2"):
        repository = Repository(name=f"{source}/berth/digits", plain_http=True)
        project.images[version] = push_image(repository, f"layer of version {version}")
        project.reports[f"digits-{version}"] = {"scanner": "grype 0.80"}
    return project


@pytest.fixture
def promote(project: Project, monkeypatch: pytest.MonkeyPatch) -> Promote:
    """Run the command with what the backend would report about the two stacks."""

    def open_stack(_root: Path, _name: str, **_options: object) -> Stack:
        stack, state = create_autospec(Stack, instance=True), project.state()
        stack.outputs.return_value = dict(state.outputs)
        stack.history.return_value = list(state.history)
        stack.read_config.return_value = (dict(state.config), state.secrets)
        return cast("Stack", stack)

    def read_recorded_state(_root: Path, _name: str) -> RecordedState:
        return RecordedState({"models": project.deployed_in_target}, project.state().history[-1])

    monkeypatch.setattr("berth.cli.stacks.open_stack", open_stack)
    monkeypatch.setattr("berth.cli.stacks.read_recorded_state", read_recorded_state)
    monkeypatch.chdir(project.root)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["promote", "dev", "prod", "--no-request", *arguments])

    return run


def _get_digests(registry: str, images: Mapping[str, str]) -> list[str | None]:
    repository = Repository(name=f"{registry}/team/digits", plain_http=True)
    return [repository.digest_of(split_reference(image)[1]) for image in images.values()]


def test_images_are_copied_by_digest_and_pinned(
    project: Project, promote: Promote, registries: tuple[str, str]
) -> None:
    wanted = [split_reference(image)[1] for image in project.images.values()]
    assert promote("--dry-run").exit_code == 0
    assert _get_digests(registries[1], project.images) == [None, None]
    result = promote("--yes", "--pull-request", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["written"] is True
    assert _get_digests(registries[1], project.images) == wanted
    # The layers have arrived too: the registry serves them with the same digest.
    target = Repository(name=f"{registries[1]}/team/digits", plain_http=True)
    for digest in wanted:
        manifest = json.loads(target.manifest(digest).data)
        assert all(target.has_blob(entry["digest"]) for entry in manifest["layers"])
        assert target.has_blob(manifest["config"]["digest"])
    versions = project.config("prod")["berth:models"]["digits"]["versions"]
    assert [versions[version]["image"] for version in ("1", "2")] == wanted
    assert wanted[1] in document["pull_request"]["body"]
    assert json.loads(promote("--yes", "--json").stdout)["written"] is False


def _worsen(project: Project) -> None:
    card = project.root / "models" / "digits" / "2" / "model.yaml"
    card.write_text(card.read_text().replace("accuracy: 0.9926", "accuracy: 0.9"))


def _delete_image(project: Project) -> None:
    delete_image(project.images["2"])


def _require_scanner(project: Project) -> None:
    project.reports.clear()
    scan = '  berth:images: {scan: {require_scanner: true, command: ["false", "{image}"]}}\n'
    path = project.path("prod")
    path.write_text(path.read_text() + scan)


@pytest.mark.parametrize(
    ("change", "check", "text"),
    [
        (_worsen, "metrics", "accuracy"),
        (_delete_image, "images", "The registry has no "),
        (_require_scanner, "scan", "digits/1"),
    ],
    ids=["worse", "deleted image", "rejected by the scanner"],
)
def test_unsafe_promotion_copies_and_writes_nothing(
    project: Project,
    promote: Promote,
    registries: tuple[str, str],
    change: Callable[[Project], None],
    check: str,
    text: str,
) -> None:
    change(project)
    before = project.path("prod").read_text()
    result = promote("--yes", "--json")
    assert result.exit_code == 1, result.output
    findings: list[dict[str, Any]] = json.loads(result.stdout)["checks"]
    failed = [each for each in findings if each["status"] == "failed"]
    assert {each["check"] for each in failed} == {check}
    assert text in failed[0]["detail"]
    assert project.path("prod").read_text() == before
    assert _get_digests(registries[1], project.images) == [None, None]


def test_registry_of_the_target_that_does_not_answer_changes_nothing(
    project: Project, promote: Promote
) -> None:
    text = project.path("prod").read_text()
    before = f"{text.partition('  berth:registry')[0]}{registry_lines('127.0.0.1:9/team')}"
    project.path("prod").write_text(before)
    result = promote("--yes")
    assert result.exit_code == 1, result.output
    assert "Could not copy" in result.output
    assert "127.0.0.1:9/team/digits" in result.output
    assert project.path("prod").read_text() == before
