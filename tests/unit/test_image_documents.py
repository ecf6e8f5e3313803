"""What is told of an image: its OCI documents, its contents, its report, its SBOM."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pulumi_berth.images.contents import InPackage, read_contents
from pulumi_berth.images.report import Report, report_of, shortcomings
from pulumi_berth.images.sbom import package_url, sbom
from pulumi_berth.images.scan import NONE_AT_HAND, Scan, ScanError, at_hand, run_scan
from pulumi_berth.oci import oci
from pulumi_berth.oci.layer import Layer, write_layer
from pulumi_berth.oci.registry import split_reference
from pulumi_berth.oci.tree import EXECUTABLE, Entry, Tree, text

_RUN = oci.RunConfig(
    user="65532:65532", environment={"B": "2", "A": "1"}, entrypoint=["/x"], labels={"l": "v"}
)
_SOUND = Report(
    user="65532:65532", compressed=1, unpacked=1, packages={}, set_id=[], shells=[], managers=[],
    compilers=[], certificates=True, time_zones=True,
)  # fmt: skip


def _layer(number: int) -> Layer:
    return Layer(
        path=Path("x"), digest=f"sha256:{number}", size=number, diff_id=f"id{number}", unpacked=0
    )


def test_a_configuration_adds_to_the_one_below() -> None:
    below = json.loads(oci.config_on({}, "amd64", [("base", _layer(1))], _RUN).data)
    run = replace(_RUN, environment={"B": "3"})
    whole = json.loads(oci.config_on(below, "amd64", [("app", _layer(2))], run).data)
    assert whole["rootfs"]["diff_ids"] == ["id1", "id2"]
    assert whole["config"]["Env"] == ["A=1", "B=3"]
    assert [entry["created_by"] for entry in whole["history"]] == ["base", "app"]
    assert whole["config"]["User"] == "65532:65532"


def test_a_manifest_has_the_layers_below_first() -> None:
    config = oci.config_on({}, "amd64", [], _RUN)
    below = [{"mediaType": oci.LAYER, "digest": "sha256:0", "size": 9}]
    manifest = json.loads(oci.manifest_on(below, config, [_layer(1)], {"a": "b"}).data)
    assert [layer["digest"] for layer in manifest["layers"]] == ["sha256:0", "sha256:1"]
    assert manifest["config"]["digest"] == config.digest
    assert manifest["annotations"] == {"a": "b"}


def test_a_document_is_named_by_its_bytes() -> None:
    document = oci.document(oci.INDEX, {"b": 1, "a": 2})
    assert document.digest == f"sha256:{hashlib.sha256(document.data).hexdigest()}"
    assert document.data == oci.document(oci.INDEX, {"a": 2, "b": 1}).data


def test_an_index_names_each_architecture() -> None:
    manifests = {arch: oci.document(oci.MANIFEST, {"for": arch}) for arch in ("arm64", "amd64")}
    index = json.loads(oci.index_of(manifests).data)
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]


def test_contents_are_what_the_layers_have_together(tmp_path: Path) -> None:
    lower: Tree = {
        "usr/bin/sh": Entry(mode=EXECUTABLE, read=lambda: b"sh"),
        "var/lib/dpkg/status.d/libc6": text("Package: libc6\nVersion: 2.36-9\n"),
        "lib/x-1.dist-info/METADATA": text("Name: x\nVersion: 1\nLicense-Expression: MIT\n\nText"),
    }
    upper: Tree = {"usr/bin/.wh.sh": text(""), "app/main.py": text("main")}
    paths = [write_layer(tree, tmp_path / str(n)).path for n, tree in enumerate((lower, upper))]
    contents = read_contents(paths)
    assert "usr/bin/sh" not in contents.files
    assert contents.files["app/main.py"].size == 4
    assert contents.packages == [
        InPackage(kind="pypi", name="x", version="1", license="MIT"),
        InPackage(kind="deb", name="libc6", version="2.36-9"),
    ]


def test_a_report_finds_what_must_not_be_there(tmp_path: Path) -> None:
    tree: Tree = {
        "usr/bin/su": Entry(mode=0o4755, read=lambda: b""),
        "bin/bash": Entry(mode=EXECUTABLE, read=lambda: b""),
        "usr/bin/apt-get": Entry(mode=EXECUTABLE, read=lambda: b""),
        "usr/bin/gcc": Entry(mode=EXECUTABLE, read=lambda: b""),
        "opt/lib/pip/__main__.py": text(""),
        "opt/berth/app/sh": text("no program folder"),
    }
    contents = read_contents([write_layer(tree, tmp_path / "layer").path])
    report = report_of(contents, {"config": {"User": "0"}}, compressed=10)
    assert report.set_id == ["usr/bin/su"]
    assert report.shells == ["bin/bash"]
    assert report.managers == ["opt/lib/pip/__main__.py", "usr/bin/apt-get"]
    assert report.compilers == ["usr/bin/gcc"]
    assert len(list(shortcomings(report))) == 7


def test_a_sound_report_has_no_shortcomings() -> None:
    assert list(shortcomings(_SOUND)) == []


@pytest.mark.parametrize("user", ["", "0", "root", "0:0", "root:root"])
def test_root_is_a_shortcoming(user: str) -> None:
    (line,) = shortcomings(replace(_SOUND, user=user))
    assert "not root" in line


def test_an_sbom_names_every_package_and_repeats_itself() -> None:
    packages = [
        InPackage(kind="pypi", name="PyYAML", version="6.0.3"),
        InPackage(kind="deb", name="libstdc++6", version="12.2.0-14+deb12u1"),
    ]
    spdx = json.loads(sbom("spdx", "registry/x@sha256:0", packages))
    cyclone = json.loads(sbom("cyclonedx", "registry/x@sha256:0", packages))
    urls = {
        reference["referenceLocator"]
        for package in spdx["packages"]
        for reference in package.get("externalRefs", [])
    }
    assert urls == {component["purl"] for component in cyclone["components"]}
    assert urls == {"pkg:pypi/pyyaml@6.0.3", "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1"}
    again = sbom("spdx", "registry/x@sha256:0", packages[::-1])
    assert again == sbom("spdx", "registry/x@sha256:0", packages)


def test_package_urls_are_those_of_their_kind() -> None:
    named = InPackage(kind="pypi", name="prometheus_client", version="1")
    assert package_url(named) == "pkg:pypi/prometheus-client@1"


def _scan(*command: str, fail_on: str = "high") -> Scan:
    return Scan(command=command, fail_on=fail_on, ignore_unfixed=False)


def test_a_scanners_exit_status_decides() -> None:
    assert run_scan(_scan("true", "{image}"), "x@sha256:0") == "true"
    with pytest.raises(ScanError, match=r"CVE-1 in x@sha256:0"):
        run_scan(_scan("sh", "-c", "echo CVE-1 in {image}; exit 1"), "x@sha256:0")


def test_findings_are_only_recorded_where_nothing_shall_fail() -> None:
    assert run_scan(_scan("false", fail_on="never"), "x") == "false"


def test_a_scanner_that_is_not_there_is_told() -> None:
    with pytest.raises(ScanError, match=r"images\.scan\.command"):
        run_scan(_scan("/no/such/scanner"), "x")


def test_the_scanner_at_hand_is_asked_for_the_severity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert at_hand(_scan(), "x") == []
    assert run_scan(_scan(), "x") == NONE_AT_HAND
    (tmp_path / "grype").touch(mode=0o755)
    assert "--fail-on=high" in at_hand(_scan(), "x")
    (tmp_path / "trivy").touch(mode=0o755)
    assert "--severity=MEDIUM,HIGH,CRITICAL" in at_hand(_scan(fail_on="medium"), "x")


@pytest.mark.parametrize(
    "reference",
    [f"reg.example.com:5000/a/b{tag}@sha256:{'0' * 64}" for tag in ("", ":1.2")],
)
def test_a_reference_falls_into_repository_and_digest(reference: str) -> None:
    assert split_reference(reference) == ("reg.example.com:5000/a/b", f"sha256:{'0' * 64}")
