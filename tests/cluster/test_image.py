"""Images: the recipe's results in a real registry, and the gate before it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pulumi_berth.images import layers
from pulumi_berth.images.base import USER
from pulumi_berth.images.contents import read_contents
from pulumi_berth.images.scan import Scan, ScanError
from pulumi_berth.oci import oci
from pulumi_berth.oci.build import Built, GateError, Image, build
from pulumi_berth.oci.cache import cache_folder
from pulumi_berth.oci.layer import write_layer
from pulumi_berth.oci.registry import Repository
from pulumi_berth.oci.tree import EXECUTABLE, Entry
from tests.cluster.cluster import Cluster

_RUN = oci.RunConfig(
    user=f"{USER}:{USER}", environment={}, entrypoint=["/usr/bin/python3"], labels={}
)
_PASSES = Scan(command=["true"], fail_on="high", ignore_unfixed=False)
_FAILS = Scan(command=["false"], fail_on="high", ignore_unfixed=False)

Make = Callable[..., Built]


@pytest.fixture
def make(cluster: Cluster) -> Make:
    def build_base(architectures: tuple[str, ...] = ("amd64",), scan: Scan = _PASSES,
                   tag: str = "whole") -> Built:  # fmt: skip
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
            form="spdx",
            scan=scan,
        )

    return build_base


def test_the_base_is_hardened_and_small(make: Make) -> None:
    report = make().reports["amd64"]
    assert report["user"] == f"{USER}:{USER}"
    hardened = ("set_id", "shells", "managers", "compilers")
    assert {key: report[key] for key in hardened} == {key: [] for key in hardened}
    assert report["certificates"]
    assert report["time_zones"]
    assert report["packages"] == {"deb": 20, "pypi": 27}
    assert report["compressed"] < 60 * 2**20


def test_the_same_inputs_give_the_same_digest(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make()
    # An empty cache of layers; what was downloaded is not downloaded again.
    fresh = tmp_path / "berth" / "images"
    fresh.mkdir(parents=True)
    for kept in ("debian", "wheels"):
        (fresh / kept).symlink_to(cache_folder(kept))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert make().digest == first.digest


def test_one_image_for_two_kinds_of_processor(make: Make, cluster: Cluster) -> None:
    built = make(("amd64", "arm64"), tag="both")
    repository = Repository(name=f"{cluster.registry}/test/base", plain_http=True)
    index = repository.manifest(built.digest)
    assert index.media_type == oci.INDEX
    assert built.reports["arm64"]["packages"] == built.reports["amd64"]["packages"]


def test_python_and_its_loader_are_of_the_same_architecture() -> None:
    contents = read_contents([layers.base_layer("arm64", []).path])
    assert any("aarch64-linux-gnu/libc.so.6" in path for path in contents.files)
    assert not any("x86_64" in path for path in contents.files)


def test_an_image_that_the_scanner_holds_back_gets_no_tag(make: Make, cluster: Cluster) -> None:
    with pytest.raises(ScanError, match="false holds"):
        make(scan=_FAILS, tag="held")
    repository = Repository(name=f"{cluster.registry}/test/base", plain_http=True)
    assert repository.digest_of("held") is None


def test_an_image_with_a_shell_is_held_back_and_not_pushed(
    cluster: Cluster, tmp_path: Path
) -> None:
    shell = {"bin/sh": Entry(mode=EXECUTABLE | 0o4000, read=lambda: b"#!")}
    layer = write_layer(shell, tmp_path / "layer")
    repository = Repository(name=f"{cluster.registry}/test/shell", plain_http=True)
    with pytest.raises(GateError, match=r"set-uid or set-gid: /bin/sh.*shells: /bin/sh"):
        build(
            Image(repository=repository, tag="x", base=None, layers={"amd64": [("x", layer)]},
                  run=_RUN),
            form="spdx", scan=_PASSES,
        )  # fmt: skip
    assert not repository.has_blob(layer.digest)


def test_a_new_version_pushes_only_its_own_layers(make: Make, cluster: Cluster) -> None:
    base = make()
    repository = Repository(name=f"{cluster.registry}/test/digits", plain_http=True)
    pushed = []
    for version in ("1", "2"):
        model = layers.model_layer(layers.WHEEL_LOCK.parents[1] / "models" / "digits" / version,
                                   version)  # fmt: skip
        app = layers.program_layer("berth_serving")
        built = build(
            Image(repository=repository, tag=version, base=base.reference,
                  layers={"amd64": [("app", app), ("model", model)]}, run=_RUN),
            form="cyclonedx", scan=_PASSES,
        )  # fmt: skip
        manifest = repository.manifest(built.digest)
        pushed.append([entry["digest"] for entry in json.loads(manifest.data)["layers"]])
    assert pushed[0][:-1] == pushed[1][:-1]
    assert pushed[0][-1] != pushed[1][-1]
