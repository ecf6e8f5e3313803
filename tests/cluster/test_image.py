"""Tests of images in a real registry: their content, their digests, and the image check."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from berth_protocol.model_card import digest
from pulumi_berth.files import cache_directory
from pulumi_berth.images import layers
from pulumi_berth.images.base import USER
from pulumi_berth.images.base_reader import ImageCheckError
from pulumi_berth.images.build import Image, PushedImage, build
from pulumi_berth.images.contents import read_contents
from pulumi_berth.images.scan import Scan, ScanError
from pulumi_berth.oci import documents
from pulumi_berth.oci.layer import write_layer
from pulumi_berth.oci.registry import Repository
from pulumi_berth.oci.tree import EXECUTABLE, Entry
from tests.cluster.cluster import Cluster
from tests.repository import REPOSITORY

_RUN = documents.RunConfig(
    user=f"{USER}:{USER}", environment={}, entrypoint=["/usr/bin/python3"], labels={}
)
_PASSING_SCAN = Scan(command=["true"], fail_on="high", ignore_unfixed=False)
_FAILING_SCAN = Scan(command=["false"], fail_on="high", ignore_unfixed=False)

BuildBase = Callable[..., PushedImage]


@pytest.fixture
def build_base(cluster: Cluster) -> BuildBase:
    """A function that builds the base image in the cluster's registry."""

    def build_base(
        architectures: tuple[str, ...] = ("amd64",),
        scan: Scan = _PASSING_SCAN,
        tag: str = "complete",
    ) -> PushedImage:
        return build(
            Image(
                repository=Repository(name=f"{cluster.registry}/test/base", plain_http=True),
                tag=tag,
                base=None,
                layers={
                    architecture: [
                        ("base", layers.base_layer(architecture, [])),
                        ("libraries", layers.runtime_layer("serving-cpu", architecture)),
                    ]
                    for architecture in architectures
                },
                run=_RUN,
            ),
            scan=scan,
        )

    return build_base


def test_base_image_is_hardened_and_small(build_base: BuildBase) -> None:
    report = build_base().reports["amd64"]
    assert report["user"] == f"{USER}:{USER}"
    hardened = ("set_id", "shells", "managers", "compilers")
    assert {key: report[key] for key in hardened} == {key: [] for key in hardened}
    assert report["has_certificates"]
    assert report["has_time_zones"]
    assert report["packages"] == {"deb": 20, "pypi": 28}
    assert report["compressed"] < 60 * 2**20


def test_rebuild_with_the_same_inputs_has_the_same_digest(
    build_base: BuildBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_base()
    # Use an empty cache of layers, but keep the downloaded packages.
    fresh = tmp_path / "berth" / "images"
    fresh.mkdir(parents=True)
    for name in ("debian", "wheels"):
        (fresh / name).symlink_to(cache_directory("images", name))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # Another tag: an image that has its tag is not pushed again.
    assert build_base(tag="again").digest == first.digest


def test_image_for_two_architectures_has_an_index(build_base: BuildBase, cluster: Cluster) -> None:
    built = build_base(("amd64", "arm64"), tag="both")
    repository = Repository(name=f"{cluster.registry}/test/base", plain_http=True)
    index = repository.manifest(built.digest)
    assert index.media_type == documents.INDEX
    assert built.reports["arm64"]["packages"] == built.reports["amd64"]["packages"]


def test_arm64_layer_contains_only_arm64_libraries() -> None:
    contents = read_contents([layers.base_layer("arm64", []).path])
    assert any("aarch64-linux-gnu/libc.so.6" in path for path in contents.files)
    assert not any("x86_64" in path for path in contents.files)


def test_image_that_the_scanner_rejects_gets_no_tag(
    build_base: BuildBase, cluster: Cluster
) -> None:
    with pytest.raises(ScanError, match="false"):
        build_base(scan=_FAILING_SCAN, tag="rejected")
    repository = Repository(name=f"{cluster.registry}/test/base", plain_http=True)
    assert repository.digest_of("rejected") is None


def test_image_with_a_shell_fails_the_image_check_and_is_not_pushed(
    cluster: Cluster, tmp_path: Path
) -> None:
    shell = {"bin/sh": Entry(mode=EXECUTABLE | 0o4000, read=lambda: b"#!")}
    layer = write_layer(shell, tmp_path / "layer")
    repository = Repository(name=f"{cluster.registry}/test/shell", plain_http=True)
    with pytest.raises(
        ImageCheckError, match=r"set-uid or set-gid files: /bin/sh.*shells: /bin/sh"
    ):
        build(
            Image(repository=repository, tag="x", base=None, layers={"amd64": [("x", layer)]},
                  run=_RUN),
            scan=_PASSING_SCAN,
        )  # fmt: skip
    assert not repository.has_blob(layer.digest)


def test_images_of_two_versions_differ_only_in_the_model_layer(
    build_base: BuildBase, cluster: Cluster
) -> None:
    base = build_base()
    repository = Repository(name=f"{cluster.registry}/test/digits", plain_http=True)
    layer_digests = []
    for version in ("1", "2"):
        directory = REPOSITORY / "models" / "digits" / version
        model = layers.model_layer(directory, digest(directory))
        app = layers.program_layer("berth_serving")
        built = build(
            Image(repository=repository, tag=version, base=base.reference,
                  layers={"amd64": [("app", app), ("model", model)]}, run=_RUN),
            scan=_PASSING_SCAN,
        )  # fmt: skip
        manifest = repository.manifest(built.digest)
        layer_digests.append([entry["digest"] for entry in json.loads(manifest.data)["layers"]])
    first, second = layer_digests
    assert first[:-1] == second[:-1]
    assert first[-1] != second[-1]
