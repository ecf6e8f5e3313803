"""Versions of datasets in a promoted release: pinned, and present where the other stack reads."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.operations.datasets import promote_dataset
from berth.operations.promotion import datasets
from berth.operations.promotion.plan import Promotion
from berth.platforms.preflight import Finding, Status
from berth.spec import load_file
from pulumi_berth.datasets.artifact import push_dataset
from pulumi_berth.oci.registry import Repository
from tests.aws.strict_registry import StrictRegistry, serve_strict_registry
from tests.unit.promotion_project import (
    SOURCE_FILE,
    TARGET_FILE,
    Project,
    create_project,
    registry_lines,
)

_OTHER = f"sha256:{'0' * 64}"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictRegistry]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-login"))
    storage = tmp_path / "storage"
    storage.mkdir()
    with serve_strict_registry(storage) as served:
        logins = {served.host: ("AWS", served.owner)}
        monkeypatch.setattr("pulumi_berth.oci.registry.ecr_login", logins.get)
        yield served


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return create_project(tmp_path / "project")


def _push(registry: StrictRegistry, directory: Path, name: str, version: str, row: str) -> str:
    files = directory / f"{name}-{version}"
    files.mkdir(exist_ok=True)
    (files / "prices.csv").write_text(row)
    repository = Repository(name=f"{registry.host}/{name}", plain_http=True)
    return push_dataset(files, repository, version)


def _configure(project: Project, source: str, target: str) -> None:
    """Write two stacks on kubernetes with one dataset each."""
    project.write(
        *(
            text.format(platform="kubernetes")
            + registry_lines("registry.example.com/berth")
            + f"  berth:data:\n    datasets:\n      prices: {{{entry}, models: [digits]}}  # a\n"
            for text, entry in ((SOURCE_FILE, source), (TARGET_FILE, target))
        )
    )


def _select(promotion: Promotion) -> list[Finding]:
    return [finding for finding in promotion.findings if finding.check == "datasets"]


def test_version_and_digest_of_a_shared_source_are_promoted(
    project: Project, registry: StrictRegistry, tmp_path: Path
) -> None:
    _push(registry, tmp_path, "prices", "7", "1")
    digest = _push(registry, tmp_path, "prices", "8", "2")
    place = f"source: 'oci://{registry.host}/prices'"
    _configure(project, f"version: '8', {place}", f"version: '7', {place}")
    promotion = project.plan()
    assert not promotion.has_failed
    project.path("prod").write_text(promotion.after)
    entry = load_file(project.path("prod")).data.datasets["prices"]
    assert (entry.version, entry.digest) == ("8", digest)
    assert "# a\n" in promotion.after


def test_version_that_the_targets_source_lacks_stops_the_promotion(
    project: Project, registry: StrictRegistry, tmp_path: Path
) -> None:
    digest = _push(registry, tmp_path, "prices", "8", "2")
    there = f"oci://{registry.host}/prod/prices"
    _configure(
        project,
        f"version: '8', source: 'oci://{registry.host}/prices'",
        f"version: '7', source: '{there}'",
    )
    [finding] = _select(project.plan())
    assert finding.status is Status.FAILED
    assert f"berth data push DIRECTORY {there} --version 8" in finding.fix
    repository = Repository(name=f"{registry.host}/prod/prices", plain_http=True)
    assert push_dataset(tmp_path / "prices-8", repository, "8") == digest
    promotion = project.plan()
    assert [each.status for each in _select(promotion)] == [Status.PASSED]
    project.path("prod").write_text(promotion.after)
    assert load_file(project.path("prod")).data.datasets["prices"].source == there


def test_pinned_digest_that_the_source_does_not_have_stops_the_promotion(
    project: Project, registry: StrictRegistry, tmp_path: Path
) -> None:
    _push(registry, tmp_path, "prices", "8", "2")
    place = f"source: 'oci://{registry.host}/prices'"
    _configure(project, f"version: '8', digest: '{_OTHER}', {place}", f"version: '7', {place}")
    [finding] = _select(project.plan())
    assert (finding.status, "and not the pinned" in finding.detail) == (Status.FAILED, True)


def test_version_that_the_source_lost_stops_the_promotion(
    project: Project, registry: StrictRegistry
) -> None:
    place = f"source: 'oci://{registry.host}/prices'"
    _configure(project, f"version: '9', {place}", f"version: '7', {place}")
    [finding] = _select(project.plan())
    assert "has no version 9" in finding.detail


def test_claim_that_only_pods_read_is_reported_as_not_checked(project: Project) -> None:
    place = "source: 'pvc://claim/prices'"
    _configure(project, f"version: '8', digest: '{_OTHER}', {place}", f"version: '7', {place}")
    promotion = project.plan()
    assert not promotion.has_failed
    assert Status.NOT_CHECKED in {each.status for each in _select(promotion)}
    project.path("prod").write_text(promotion.after)
    assert load_file(project.path("prod")).data.datasets["prices"].digest == _OTHER


def test_dataset_that_is_new_in_the_target_is_added_with_its_source(project: Project) -> None:
    _configure(project, f"version: '8', digest: '{_OTHER}', source: 'pvc://claim/prices'", "")
    project.path("prod").write_text(
        TARGET_FILE.format(platform="kubernetes") + registry_lines("registry.example.com/berth")
    )
    project.path("prod").write_text(project.plan().after)
    entry = load_file(project.path("prod")).data.datasets["prices"]
    assert (entry.version, entry.source, entry.models) == ("8", "pvc://claim/prices", ["digits"])


def test_command_for_one_dataset_changes_no_other_line(project: Project) -> None:
    _configure(
        project,
        f"version: '8', digest: '{_OTHER}', source: 'pvc://claim/prices'",
        "version: '7', source: 'pvc://claim/prices'",
    )
    path = project.path("prod")
    path.write_text(path.read_text() + "  berth:images:   {architectures:   [amd64]}\n")
    lines = path.read_text().splitlines()
    promoted = promote_dataset(
        "prices", project.root, source="dev", target="prod", say=lambda _: None
    )
    assert (promoted["from"], promoted["to"]) == ("7", "8")
    changed = [line for line in path.read_text().splitlines() if line not in lines]
    assert len(changed) == 1
    assert load_file(path).data.datasets["prices"].digest == _OTHER


def test_datasets_in_own_buckets_are_copied(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only stacks on AWS have buckets of their own."""
    monkeypatch.setattr(datasets, "read_dataset_digest", lambda *_: _OTHER)
    aws = """\
config:
  aws:region: eu-central-1
  berth:platform: aws
  berth:models: {{digits: {{versions: {{"1": {{}}}}}}}}
  berth:data: {{datasets: {{prices: {{version: "{version}", models: [digits]}}}}}}
  berth:gateway: {{timeout_seconds: 29}}
  berth:node_pools:
    general: {{instance_types: [m7i.large], min: 1, desired: 1, max: 2}}
"""
    project.write(aws.format(version="8"), aws.format(version="7"))
    promotion = project.plan()
    assert promotion.datasets.copies == ["prices"]
    assert promotion.datasets.digests == {"prices": _OTHER}
