"""Images of a promoted release: existing, scanned, pinned, and copied between registries."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from berth.errors import OperationError
from berth.operations.promotion.images import ImageCopy
from berth.operations.promotion.plan import Promotion, promote
from berth.platforms.preflight import Finding, Status
from berth.spec import ParitySpec, load_file
from berth.spec.may_differ import copy_values
from pulumi_berth.images.build import Image, build
from pulumi_berth.images.scan import Scan
from pulumi_berth.oci import documents
from pulumi_berth.oci.layer import write_layer
from pulumi_berth.oci.registry import Repository
from pulumi_berth.oci.tree import text_file
from tests.aws.strict_registry import StrictRegistry, serve_strict_registry
from tests.unit.promotion_project import (
    SOURCE_FILE,
    TARGET_FILE,
    Project,
    create_project,
    registry_lines,
)

_NO_IMAGE = f"sha256:{'0' * 64}"
_BASE = {"etc/ssl/certs/ca-certificates.crt": "CA", "usr/share/zoneinfo/UTC": "UTC"}


@pytest.fixture
def registries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[StrictRegistry, StrictRegistry]]:
    """Two registries as strict as ECR: that of dev, and that of prod."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-login"))
    storages = [tmp_path / "registry-dev", tmp_path / "registry-prod"]
    for storage in storages:
        storage.mkdir()
    with serve_strict_registry(storages[0]) as one, serve_strict_registry(storages[1]) as other:
        logins = {each.host: ("AWS", each.owner) for each in (one, other)}
        monkeypatch.setattr("pulumi_berth.oci.registry.ecr_login", logins.get)
        yield one, other


def _push(registry: StrictRegistry, directory: Path, version: str) -> str:
    """Build an image with an SBOM in the registry of dev, and return its reference."""
    files = {**_BASE, "opt/model": version}
    tree = {path: text_file(text) for path, text in files.items()}
    image = Image(
        repository=Repository(name=f"{registry.host}/berth/digits", plain_http=True),
        tag=f"release-{version}",
        base=None,
        layers={
            name: [("model", write_layer(tree, directory / f"layer-{version}"))]
            for name in ("amd64", "arm64")
        },
        run=documents.RunConfig(
            user="65532:65532", environment={}, entrypoint=["/usr/bin/python3"], labels={}
        ),
    )
    return build(image, scan=Scan(command=["true"], fail_on="high", ignore_unfixed=False)).reference


@pytest.fixture
def project(tmp_path: Path, registries: tuple[StrictRegistry, StrictRegistry]) -> Project:
    """A project whose stack dev runs two images of its registry."""
    created = create_project(tmp_path / "project")
    one, other = registries
    created.write(
        SOURCE_FILE.format(platform="kubernetes") + registry_lines(f"{one.host}/berth"),
        TARGET_FILE.format(platform="kubernetes") + registry_lines(f"{other.host}/team/berth"),
    )
    created.images = {version: _push(one, tmp_path, version) for version in ("1", "2")}
    created.reports = {f"digits-{version}": {"scanner": "trivy"} for version in ("1", "2")}
    return created


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The same project with registries that have every image and are not asked for content."""
    monkeypatch.setattr(
        "berth.operations.promotion.plan.has_image", lambda _reference, *, plain_http: plain_http
    )
    created = create_project(tmp_path / "project")
    created.write(
        SOURCE_FILE.format(platform="kubernetes") + registry_lines("dev.example.com/berth"),
        TARGET_FILE.format(platform="kubernetes") + registry_lines("prod.example.com/berth"),
    )
    created.images = {
        version: f"dev.example.com/berth/digits@sha256:{version * 64}" for version in ("1", "2")
    }
    created.reports = {f"digits-{version}": {"scanner": "trivy"} for version in ("1", "2")}
    return created


def _select(promotion: Promotion, check: str) -> list[Finding]:
    return [finding for finding in promotion.findings if finding.check == check]


def _digest(project: Project, version: str) -> str:
    return project.images[version].rpartition("@")[2]


def test_images_are_copied_with_their_digests_and_pinned(
    project: Project, registries: tuple[StrictRegistry, StrictRegistry]
) -> None:
    one, other = registries
    promotion = project.plan()
    assert not promotion.has_failed
    assert promotion.images.copies == tuple(
        ImageCopy(source=project.images[v], repository=f"{other.host}/team/berth/digits")
        for v in ("1", "2")
    )
    lines: list[str] = []
    promote(promotion, lines.append)
    assert [line.partition(":")[0] for line in lines] == ["Copied", "Copied"]
    versions = load_file(project.path("prod")).models["digits"].versions
    there = Repository(name=f"{other.host}/team/berth/digits", plain_http=True)
    here = Repository(name=f"{one.host}/berth/digits", plain_http=True)
    for version, entry in versions.items():
        digest = _digest(project, version)
        assert (entry.image, entry.digest) == (digest, project.digest(version))
        assert there.manifest(digest) == here.manifest(digest)
    tags = other.tags["team/berth/digits"]
    assert len([tag for tag in tags if tag.endswith(".sbom")]) == 4
    assert len([tag for tag in tags if tag.startswith("release-")]) == 2
    assert other.refused == []


def test_copies_that_exist_are_not_pushed_again(
    project: Project, registries: tuple[StrictRegistry, StrictRegistry]
) -> None:
    promote(project.plan(), lambda _: None)
    other = registries[1]
    other.requests.clear()
    lines: list[str] = []
    promote(project.plan(), lines.append)
    assert [line.partition(":")[0] for line in lines] == ["Present", "Present"]
    assert {method for method, _, _ in other.requests} == {"HEAD"}


def test_copy_that_fails_leaves_the_file_unchanged_and_is_continued(
    project: Project, registries: tuple[StrictRegistry, StrictRegistry], tmp_path: Path
) -> None:
    other = registries[1]
    text = project.path("prod").read_text()
    promotion = project.plan()
    other.repositories = {"another"}
    with pytest.raises(OperationError, match=r"Could not copy .* configuration was not changed"):
        promote(promotion, lambda _: None)
    assert project.path("prod").read_text() == text
    assert "team/berth/digits" not in other.tags
    other.repositories = set()
    promote(promotion, lambda _: None)
    assert project.path("prod").read_text() == promotion.after != text


def test_stacks_with_one_registry_copy_nothing(
    project: Project, registries: tuple[StrictRegistry, StrictRegistry]
) -> None:
    one = registries[0]
    project.path("prod").write_text(
        TARGET_FILE.format(platform="kubernetes") + registry_lines(f"{one.host}/berth")
    )
    promotion = project.plan()
    assert promotion.images.copies == ()
    assert promotion.images.pins["digits", "2"] == _digest(project, "2")


def test_image_that_the_registry_lost_stops_the_promotion(project: Project) -> None:
    project.images["2"] = project.images["2"].replace(_digest(project, "2"), _NO_IMAGE)
    promotion = project.plan()
    [finding] = _select(promotion, "images")
    assert finding.status is Status.FAILED
    assert project.images["2"] in finding.detail
    assert "berth up -s dev" in finding.fix


def test_registry_that_is_not_reachable_stops_the_promotion(
    offline: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "berth.operations.promotion.plan.has_image", lambda _reference, *, plain_http: None
    )
    [finding] = [each for each in _select(offline.plan(), "images") if each.status is Status.FAILED]
    assert "gave no answer about" in finding.detail


def test_target_for_other_architectures_builds_its_images(offline: Project) -> None:
    offline.path("prod").write_text(
        offline.path("prod").read_text() + "  berth:images: {architectures: [arm64]}\n"
    )
    promotion = offline.plan()
    assert promotion.images.pins == {}
    assert any("no images for arm64" in each.detail for each in _select(promotion, "images"))


def test_pin_of_other_content_does_not_stay_when_the_target_builds(offline: Project) -> None:
    text = offline.path("prod").read_text()
    pinned = text.replace('"1": {}', f'"1": {{image: {_NO_IMAGE}}}')
    offline.path("prod").write_text(pinned + "  berth:images: {architectures: [arm64]}\n")
    offline.path("prod").write_text(offline.plan().after)
    assert load_file(offline.path("prod")).models["digits"].versions["1"].image is None


def test_image_without_the_required_scan_stops_the_promotion(
    offline: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    offline.reports = {}
    promotion = offline.plan()
    [finding] = _select(promotion, "scan")
    assert finding.status is Status.WARNING
    offline.path("prod").write_text(
        offline.path("prod").read_text() + "  berth:images: {scan: {require_scanner: true}}\n"
    )
    findings = _select(offline.plan(), "scan")
    assert {finding.status for finding in findings} == {Status.FAILED}
    assert all("No scanner is installed" in finding.detail for finding in findings)


def test_target_with_another_scan_gets_its_own_scan(offline: Project, tmp_path: Path) -> None:
    """The scanner is a real program that rejects one of the two images."""
    rejected = _digest(offline, "2")
    script = tmp_path / "scanner.py"
    script.write_text(f"import sys\nsys.exit({rejected!r} in sys.argv[1])\n")
    offline.path("prod").write_text(
        offline.path("prod").read_text()
        + f'  berth:images: {{scan: {{command: ["{sys.executable}", "{script}", "{{image}}"]}}}}\n'
    )
    findings = _select(offline.plan(), "scan")
    assert {finding.status for finding in findings} == {Status.PASSED, Status.FAILED}
    [failed] = [finding for finding in findings if finding.status is Status.FAILED]
    assert failed.detail.startswith("digits/2: ")
    assert "rejected" in failed.detail


def test_stack_without_a_registry_lets_the_target_build(offline: Project) -> None:
    offline.images = dict.fromkeys(("1", "2"), f"engine.invalid/digits@{_NO_IMAGE}")
    source = SOURCE_FILE.format(platform="docker")
    offline.path("dev").write_text(source)
    promotion = offline.plan()
    assert (promotion.has_failed, promotion.images.pins) == (False, {})


def test_own_container_is_promoted_with_its_image(offline: Project) -> None:
    image = f"registry.example.com/team/server@{_NO_IMAGE}"
    source = offline.path("dev").read_text()
    offline.path("dev").write_text(
        source.replace('"2": {}', f'"2": {{container: {{image: {image}, port: 9000}}}}')
    )
    state = offline.state()
    outputs: dict[str, Any] = dict(state.outputs)
    outputs["models"]["digits"]["versions"]["2"]["digest"] = _NO_IMAGE
    promotion = offline.plan(replace(state, outputs=outputs))
    offline.path("prod").write_text(promotion.after)
    entry = load_file(offline.path("prod")).models["digits"].versions["2"]
    assert entry.container is not None
    assert (entry.container.image, entry.container.port) == (image, 9000)
    assert (entry.digest, entry.image) == (None, None)


def test_pinned_image_is_no_difference_between_two_stacks() -> None:
    """What a promotion pins is what the other stack builds."""
    pinned = {"models": {"digits": {"versions": {"1": {"image": _NO_IMAGE, "exposed": True}}}}}
    built: dict[str, Any] = {"models": {"digits": {"versions": {"1": {}}}}}
    result = copy_values(pinned, built, ParitySpec().may_differ)
    assert result == {"models": {"digits": {"versions": {"1": {"exposed": True}}}}}


_AWS = """\
config:
  aws:region: eu-central-1
  berth:platform: aws
  berth:models:
    digits:
      versions: {{"1": {{}}}}
  berth:registry: {{{registry}}}
  berth:gateway: {{timeout_seconds: 29}}
  berth:node_pools:
    general: {{instance_types: [m7i.large], min: 1, desired: 1, max: 2}}
"""


def _on_aws(offline: Project, monkeypatch: pytest.MonkeyPatch, registry: str) -> Promotion:
    """Return the promotion between two stacks on AWS. The source has its images in ECR."""
    monkeypatch.setattr(
        "berth.operations.promotion.plan.has_image",
        lambda _reference, *, plain_http: not plain_http,
    )
    prefix = "111111111111.dkr.ecr.eu-central-1.amazonaws.com/berth-dev"
    digest = f"sha256:{hashlib.sha256(b'image').hexdigest()}"
    offline.write(_AWS.format(registry=""), _AWS.format(registry=registry))
    offline.images = {"1": f"{prefix}/digits@{digest}"}
    return offline.plan()


def test_stack_on_aws_that_pulls_from_the_source_gets_the_digest_without_a_copy(
    offline: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    promotion = _on_aws(offline, monkeypatch, "source_stack: dev")
    assert list(promotion.images.pins) == [("digits", "1")]
    assert promotion.images.copies == ()


def test_stack_on_aws_that_pulls_from_a_third_stack_is_refused(
    offline: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    promotion = _on_aws(offline, monkeypatch, "source_stack: staging")
    failed = [each for each in promotion.findings if each.status is Status.FAILED]
    assert [each.check for each in failed] == ["images"]
    assert "Promote from 'staging'" in failed[0].fix


def test_stack_on_aws_with_its_own_registry_gets_a_copy_once_its_repository_exists(
    offline: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _on_aws(offline, monkeypatch, "").images.pins == {}
    prefix = "222222222222.dkr.ecr.eu-central-1.amazonaws.com/berth-prod"
    offline.deployed_in_target = {
        "digits": {"versions": {"1": {"image": f"{prefix}/digits@{_NO_IMAGE}", "traffic": 100}}}
    }
    promotion = _on_aws(offline, monkeypatch, "")
    assert [copy.repository for copy in promotion.images.copies] == [f"{prefix}/digits"]
