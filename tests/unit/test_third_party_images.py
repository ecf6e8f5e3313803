"""The list of images of other projects, and the command that compares it with registries."""

import datetime
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.platforms.kubernetes.controller_requirements import find_controller_problems
from berth.spec.kubernetes import KubernetesSpec
from pulumi_berth.images import third_party
from pulumi_berth.images.third_party import (
    find_unpinned,
    get_autoscaler_image,
    get_image,
    read_images,
    read_third_party,
)
from pulumi_berth.kubernetes.hosting_args import DEFAULT_CONTROLLER_IMAGE
from tests.repository import REPOSITORY
from tests.unit.serving_registry import ServedRegistry, digest_of, serve_registry
from tools import third_party_images

_MANIFEST = b'{"schemaVersion": 2, "manifests": []}'
# A digest of these was not found in public sources. `--write` fills it in.
_WITHOUT_DIGEST = ["cluster-autoscaler-1.33", "cluster-autoscaler-1.34"]
# Files that may name a version: the list, what is generated from it, and tests.
_GENERATED = ("third_party", "third-party", "schema.json", "specification.md")
_PLACES = ("components", "infra", "docs", "examples", "Pulumi.*.yaml", "README.md")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ServedRegistry]:
    """A registry that has the tag of every image."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr("oras.decorator.time.sleep", lambda _: None)
    with serve_registry() as served:
        for image in read_images().values():
            served.content[image.tag] = _MANIFEST
        yield served


def _arguments(registry: ServedRegistry) -> list[str]:
    hosts = {image.repository.partition("/")[0] for image in read_images().values()}
    return ["--plain-http", *(f"--mirror={host}={registry.host}" for host in hosts)]


def test_images_are_pinned_by_digest_except_those_without_a_known_one() -> None:
    assert find_unpinned() == _WITHOUT_DIGEST
    for name, image in read_images().items():
        suffix = "" if name in _WITHOUT_DIGEST else r"@sha256:[0-9a-f]{64}"
        assert re.fullmatch(rf"[a-z0-9./-]+:v?\d+\.\d+\.\d+{suffix}", image.reference)
        assert image.evidence


def test_list_has_a_date_and_complete_advisories() -> None:
    content = read_third_party()
    assert datetime.date.fromisoformat(content["checked"])
    for entry in {**content["images"], **content["packages"]}.values():
        for advisory in entry["advisories"]:
            assert re.fullmatch(r"CVE-\d{4}-\d{4,}|GHSA(-[a-z0-9]{4}){3}", advisory["id"])
            assert re.match(r"(fixed in|open: )", advisory["state"])


def test_images_have_no_open_advisory() -> None:
    for image in read_images().values():
        assert [one.id for one in image.advisories if one.state.startswith("open")] == []


def test_code_uses_the_list() -> None:
    assert get_image("traefik") == DEFAULT_CONTROLLER_IMAGE
    assert KubernetesSpec().controller_image == DEFAULT_CONTROLLER_IMAGE
    assert get_autoscaler_image("1.35") == read_images()["cluster-autoscaler-1.35"].reference


def test_autoscaler_has_the_minor_version_of_the_cluster() -> None:
    for version in ("1.33", "1.34", "1.35", "1.36"):
        assert f":v{version}." in get_autoscaler_image(version)
    assert get_autoscaler_image("1.40").endswith("/cluster-autoscaler:v1.40.0")
    with pytest.raises(ValueError, match="is not a minor version of Kubernetes"):
        get_autoscaler_image("latest")


def test_no_other_file_names_another_version_of_a_listed_image() -> None:
    """The sample stacks and their page name the images, because users copy them to a registry."""
    listed = {image.reference.rpartition("/")[2] for image in read_images().values()}
    names = {reference.partition(":")[0] for reference in listed}
    pattern = re.compile(rf"\b({'|'.join(sorted(names))}):v?\d[\w.]*(@sha256:\w+)?")
    found = [
        f"{path.relative_to(REPOSITORY)}: {match[0]}"
        for place in _PLACES
        for root in REPOSITORY.glob(place)
        for path in ([root] if root.is_file() else root.rglob("*"))
        if path.suffix in (".py", ".md", ".yaml", ".json")
        and not any(part in str(path) for part in _GENERATED)
        for match in pattern.finditer(path.read_text())
        if match[0] not in listed
    ]
    assert found == []


def test_page_is_up_to_date() -> None:
    page = REPOSITORY / "docs/reference/third-party-images.md"
    assert page.read_text() == third_party_images.build_page()


def test_command_reports_missing_and_different_digests(
    registry: ServedRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert third_party_images.main(_arguments(registry)) == 1
    output = capsys.readouterr().out
    digest = digest_of(_MANIFEST)
    assert f"traefik: differs: {read_images()['traefik'].tag} is {digest}, not sha256:" in output
    assert f"cluster-autoscaler-1.33: missing: v1.33.5 is {digest}" in output


def test_command_fills_in_digests_and_then_finds_no_difference(
    registry: ServedRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "third_party.json"
    path.write_text(third_party_images.FILE.read_text())
    assert third_party_images.main([*_arguments(registry), "--write", f"--file={path}"]) == 0
    written = json.loads(path.read_text())
    assert {entry["digest"] for entry in written["images"].values()} == {digest_of(_MANIFEST)}
    monkeypatch.setattr(third_party, "read_third_party", lambda: written)
    assert third_party_images.main(_arguments(registry)) == 0


def test_registry_with_a_wrong_digest_header_changes_nothing(
    registry: ServedRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in read_images().values():
        registry.headers[image.tag] = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}
    path = tmp_path / "third_party.json"
    path.write_text(third_party_images.FILE.read_text())
    before = json.loads(path.read_text())["images"]
    assert third_party_images.main([*_arguments(registry), "--write", f"--file={path}"]) == 1
    assert json.loads(path.read_text())["images"] == before
    assert "traefik: not checked: The registry returned manifest" in capsys.readouterr().out


def test_file_keeps_its_form_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "third_party.json"
    path.write_text(third_party_images.FILE.read_text())
    checked = datetime.date.fromisoformat(read_third_party()["checked"])
    third_party_images.write_digests(path, {}, checked)
    assert path.read_text() == third_party_images.FILE.read_text()


@pytest.mark.parametrize(
    ("image", "resources", "has_problem"),
    [
        ("docker.io/library/traefik:v3.7.14@sha256:0", ["httproutes"], True),
        ("docker.io/library/traefik:v3.7.14", ["httproutes", "tlsroutes"], False),
        ("registry:5000/traefik:v4.0", ["httproutes"], True),
        ("docker.io/library/traefik:v3.6.25", ["httproutes"], False),
        ("registry:5000/traefik@sha256:0", ["httproutes"], False),
        ("", ["httproutes"], False),
    ],
)
def test_controller_needs_the_gateway_api_of_its_version(
    image: str, resources: list[str], has_problem: bool
) -> None:
    def get(path: str) -> dict[str, list[dict[str, str]]]:
        assert path == "/apis/gateway.networking.k8s.io/v1"
        return {"resources": [{"name": name} for name in resources]}

    problems = list(find_controller_problems(image, {"gateway.networking.k8s.io"}, get))
    assert bool(problems) is has_problem
    assert all("kubectl apply" in problem for problem in problems)
    assert list(find_controller_problems(image, set(), get)) == []
