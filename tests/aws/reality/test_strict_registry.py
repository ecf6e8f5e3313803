"""Images are built, rebuilt, rolled back, promoted and copied in a registry as strict as ECR."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from pulumi_berth.images.base_reader import ImageCheckError
from pulumi_berth.images.build import Image, PushedImage, build
from pulumi_berth.images.copied_image import copy_image
from pulumi_berth.images.image_inputs import build_image, content_tag, find_changes
from pulumi_berth.images.pushed_image import find_pushed
from pulumi_berth.images.scan import Scan, ScanError
from pulumi_berth.oci import documents
from pulumi_berth.oci.layer import Layer, write_layer
from pulumi_berth.oci.registry import RegistryError, Repository, TagExistsError
from pulumi_berth.oci.tree import text_file
from tests.aws.strict_registry import ECR_RULES, StrictRegistry, serve_strict_registry

_SCAN = Scan(command=["true"], fail_on="high", ignore_unfixed=False)
_RUN = documents.RunConfig(
    user="65532:65532", environment={}, entrypoint=["/usr/bin/python3"], labels={}
)
_REPOSITORY = "berth-dev/digits"
_BASE = {"etc/ssl/certs/ca-certificates.crt": "CA", "usr/share/zoneinfo/UTC": "UTC"}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictRegistry]:
    """A registry with one repository, on which the client is logged in as on ECR."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-login"))
    storage = tmp_path / "storage"
    storage.mkdir()
    with serve_strict_registry(storage, repositories=[_REPOSITORY, "berth-dev/copy"]) as served:
        _log_in(monkeypatch, served, served.owner)
        yield served


def _log_in(monkeypatch: pytest.MonkeyPatch, registry: StrictRegistry, password: str) -> None:
    monkeypatch.setattr(
        "pulumi_berth.oci.registry.ecr_login",
        lambda host: ("AWS", password) if host == registry.host else None,
    )


def _repository(registry: StrictRegistry, name: str = _REPOSITORY) -> Repository:
    return Repository(name=f"{registry.host}/{name}", plain_http=True)


def _layer(directory: Path, content: str) -> Layer:
    files = {**_BASE, "opt/model": content}
    tree = {path: text_file(text) for path, text in files.items()}
    return write_layer(tree, directory / f"layer-{content}")


def _image(registry: StrictRegistry, layer: Layer, tag: str = "release-1") -> Image:
    return Image(
        repository=_repository(registry),
        tag=tag,
        base=None,
        layers={"amd64": [("model", layer)]},
        run=_RUN,
    )


def _up(
    registry: StrictRegistry, directory: Path, content: str = "1", tag: str = "release-1"
) -> PushedImage:
    return build(_image(registry, _layer(directory, content), tag), scan=_SCAN)


def test_up_rebuild_rollback_and_promotion_are_not_refused(
    registry: StrictRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _up(registry, tmp_path)
    second = _up(registry, tmp_path, "2", "release-2")
    rolled_back = _up(registry, tmp_path)
    assert rolled_back.digest == first.digest
    assert second.digest != first.digest
    _log_in(monkeypatch, registry, registry.reader)
    promoted = find_pushed(_repository(registry), "release-2", ["amd64"], scan=_SCAN)
    assert (promoted.digest, promoted.reports) == (second.digest, second.reports)
    assert registry.refused == []
    assert 401 not in {status for _, _, status in registry.requests}
    tags = registry.tags[_REPOSITORY]
    assert {tag for tag in tags if not tag.startswith("sha256-")} == {"release-1", "release-2"}
    assert len([tag for tag in tags if tag.endswith(".sbom")]) == 2


def test_image_that_exists_is_not_pushed_again(registry: StrictRegistry, tmp_path: Path) -> None:
    _up(registry, tmp_path)
    registry.requests.clear()
    _up(registry, tmp_path)
    assert {method for method, _, _ in registry.requests} == {"HEAD"}


def test_interrupted_push_is_continued(registry: StrictRegistry, tmp_path: Path) -> None:
    """An image without its tag was pushed, but did not pass its checks."""
    _up(registry, tmp_path)
    del registry.tags[_REPOSITORY]["release-1"]
    _up(registry, tmp_path)
    assert registry.refused == []
    assert "release-1" in registry.tags[_REPOSITORY]


def test_same_files_with_other_compression_are_the_same_image(
    registry: StrictRegistry, tmp_path: Path
) -> None:
    first = _up(registry, tmp_path)
    layer = _layer(tmp_path, "1")
    path = tmp_path / "other"
    path.write_bytes(gzip.compress(gzip.decompress(layer.path.read_bytes()), 1, mtime=0))
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert digest != layer.digest
    other = replace(layer, path=path, digest=digest, size=path.stat().st_size)
    assert build(_image(registry, other), scan=_SCAN).digest == first.digest
    assert registry.refused == []


def test_tag_with_other_content_is_reported(registry: StrictRegistry, tmp_path: Path) -> None:
    _up(registry, tmp_path)
    with pytest.raises(TagExistsError, match=r"release-1 exists with different content"):
        _up(registry, tmp_path, "2")
    assert registry.refused == []


def test_promotion_names_the_image_that_the_source_has_not_pushed(
    registry: StrictRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    _log_in(monkeypatch, registry, registry.reader)
    with pytest.raises(RegistryError, match=r"digits has no image release-9: .*source_stack"):
        find_pushed(_repository(registry), "release-9", ["amd64"], scan=_SCAN)


def test_reader_that_pushes_is_told_what_it_may_not_do(
    registry: StrictRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _log_in(monkeypatch, registry, registry.reader)
    with pytest.raises(RegistryError, match=r"403 .*not authorized.*|Issue retrieving"):
        _up(registry, tmp_path)
    with pytest.raises(RegistryError, match="credentials that may do this"):
        _repository(registry).push_manifest(documents.EMPTY_CONFIG)


def test_docker_login_works_with_a_registry_that_issues_no_tokens(
    registry: StrictRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_berth.oci.registry.ecr_login", lambda _: None)
    monkeypatch.setenv("DOCKER_CONFIG", str(registry.write_login(tmp_path / "login")))
    _up(registry, tmp_path)
    assert registry.refused == []


def test_missing_login_is_reported(
    registry: StrictRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_berth.oci.registry.ecr_login", lambda _: None)
    with pytest.raises(RegistryError, match=r"401.*docker login"):
        _repository(registry).digest_of("release-1")


def test_large_layer_is_pushed_in_parts_and_read_from_storage(
    registry: StrictRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"a" * (20 << 20))
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    repository = _repository(registry)
    repository.push_file(path, digest)
    assert repository.blob(digest).stat().st_size == 20 << 20
    assert registry.refused == []
    assert 307 in {status for _, _, status in registry.requests}


@pytest.mark.parametrize("architectures", [["amd64"], ["amd64", "arm64"]])
def test_copy_has_the_digests_of_its_source(
    registry: StrictRegistry, tmp_path: Path, architectures: list[str]
) -> None:
    layer = _layer(tmp_path, "1")
    both = {name: [("model", layer)] for name in ("amd64", "arm64")}
    source = build(replace(_image(registry, layer), layers=both), scan=_SCAN)
    children = {
        entry["platform"]["architecture"]: entry["digest"]
        for entry in json.loads(registry.manifests[_REPOSITORY][source.digest][1])["manifests"]
    }
    target = _repository(registry, "berth-dev/copy")
    copies = {
        copy_image(source.reference, target, "release-3", architectures, lambda digest: digest)
        for _ in range(2)
    }
    expected = source.digest if len(architectures) == 2 else children["amd64"]
    assert copies == {(expected, expected)}
    assert {children[name] for name in architectures} <= set(registry.manifests["berth-dev/copy"])
    assert registry.refused == []


def test_tag_does_not_depend_on_the_registry_or_the_bucket() -> None:
    """prod finds dev's images by their tags, also in a copy of the registry in another Region."""
    dataset = {"kind": "bucket-dataset", "digest": "sha256:1", "name": "dev-bucket/prices/1"}
    dev = {"repository": "eu/berth-dev/data", "base": "eu/base@sha256:2", "layers": [dataset]}
    prod = {
        "repository": "us/berth-dev/data",
        "base": "us/base@sha256:2",
        "layers": [{**dataset, "name": "prod-bucket/prices/1"}],
    }
    assert content_tag(dev) == content_tag(prod)
    assert content_tag(dev) != content_tag({**dev, "base": "eu/base@sha256:3"})
    assert find_changes(dev, prod)[0] == ["repository", "base"]


@pytest.mark.parametrize(
    ("method", "path", "login", "status"),
    [
        ("GET", "manifests/release-1", None, 401),
        ("PUT", "manifests/release-1", "owner", 400),
        ("PUT", "manifests/release-2", "reader", 403),
        ("DELETE", "manifests/release-1", "owner", 405),
        ("POST", "blobs/uploads/", "reader", 403),
        ("GET", "manifests/release-1", "owner", 200),
    ],
)
def test_fixture_is_as_strict_as_ecr(
    registry: StrictRegistry, tmp_path: Path, method: str, path: str, login: str | None, status: int
) -> None:
    _up(registry, tmp_path)
    digest = registry.tags[_REPOSITORY]["release-1"]
    kind, data = registry.manifests[_REPOSITORY][digest]
    response = requests.request(
        method,
        f"http://{registry.host}/v2/{_REPOSITORY}/{path}",
        data=data if method == "PUT" else None,
        headers={"Content-Type": kind},
        auth=("AWS", login) if login else None,
        timeout=10,
    )
    assert response.status_code == status
    assert all(source.startswith("https://") for source in ECR_RULES.values())


def test_own_container_with_a_shell_gets_no_tag_in_the_registry(
    registry: StrictRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {**_BASE, "bin/sh": "a shell"}
    layer = write_layer({path: text_file(text) for path, text in files.items()}, tmp_path / "layer")
    with monkeypatch.context() as patch:
        # Another program built this image, without Berth's checks.
        patch.setattr("pulumi_berth.images.build.find_defects", lambda _: ())
        source = build(_image(registry, layer), scan=_SCAN)
    inputs: dict[str, Any] = {
        "repository": f"{registry.host}/berth-dev/copy",
        "plain_http": True,
        "copy_of": source.reference,
        "architectures": ["amd64"],
        "scan": {"command": ["true"], "fail_on": "high", "ignore_unfixed": False},
    }
    with pytest.raises(ImageCheckError, match=r"contains shells: /bin/sh\. Build it on a base"):
        build_image(inputs)
    assert _repository(registry, "berth-dev/copy").digest_of(content_tag(inputs)) is None


def test_own_container_that_passes_is_copied_with_its_report(
    registry: StrictRegistry, tmp_path: Path
) -> None:
    source = build(_image(registry, _layer(tmp_path, "one")), scan=_SCAN)
    inputs: dict[str, Any] = {
        "repository": f"{registry.host}/berth-dev/copy",
        "plain_http": True,
        "copy_of": source.reference,
        "architectures": ["amd64"],
        "scan": {"command": ["true"], "fail_on": "high", "ignore_unfixed": False},
    }
    copied = build_image(inputs)
    assert copied["digest"] == source.digest
    assert copied["report"]["scanner"] == "true"
    assert copied["report"]["amd64"]["user"] == "65532:65532"
    rejecting = {**inputs, "scan": {**inputs["scan"], "command": ["false"]}}
    with pytest.raises(ScanError, match="rejected"):
        build_image(rejecting)
