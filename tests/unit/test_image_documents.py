"""Documents about an image: OCI documents, contents, report, SBOM and scan."""

import hashlib
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pulumi_berth.images.contents import Contents, ImagePackage, LayerError, read_contents
from pulumi_berth.images.report import Report, build_report, find_defects
from pulumi_berth.images.sbom import build_sbom, package_url
from pulumi_berth.images.scan import NO_SCANNER, Scan, ScanError, find_scanner, run_scan
from pulumi_berth.oci import documents
from pulumi_berth.oci.layer import Layer, write_layer
from pulumi_berth.oci.registry import split_reference
from pulumi_berth.oci.tree import EXECUTABLE, Entry, Tree, text_file

_RUN = documents.RunConfig(
    user="65532:65532", environment={"B": "2", "A": "1"}, entrypoint=["/x"], labels={"l": "v"}
)
_HARDENED = Report(
    user="65532:65532", compressed=1, unpacked=1, packages={}, set_id=[], shells=[], managers=[],
    compilers=[], secrets=[], has_certificates=True, has_time_zones=True,
)  # fmt: skip


def _layer(number: int) -> Layer:
    return Layer(
        path=Path("x"), digest=f"sha256:{number}", size=number, diff_id=f"id{number}", unpacked=0
    )


def test_configuration_extends_base_configuration() -> None:
    base = documents.BaseConfig(
        environment={"A": "1", "B": "2"},
        diff_ids=["id1"],
        history=[{"created": documents.CREATED, "created_by": "base"}],
    )
    run = replace(_RUN, environment={"B": "3"})
    whole = json.loads(documents.build_config(base, "amd64", [("app", _layer(2))], run).data)
    assert whole["rootfs"]["diff_ids"] == ["id1", "id2"]
    assert whole["config"]["Env"] == ["A=1", "B=3"]
    assert [entry["created_by"] for entry in whole["history"]] == ["base", "app"]
    assert whole["config"]["User"] == "65532:65532"


def test_manifest_lists_base_layers_first() -> None:
    config = documents.build_config(documents.BaseConfig(), "amd64", [], _RUN)
    base = [{"mediaType": documents.LAYER, "digest": "sha256:0", "size": 9}]
    manifest = json.loads(documents.build_manifest(base, config, [_layer(1)], {"a": "b"}).data)
    assert [layer["digest"] for layer in manifest["layers"]] == ["sha256:0", "sha256:1"]
    assert manifest["config"]["digest"] == config.digest
    assert manifest["annotations"] == {"a": "b"}


def test_document_digest_is_sha256_of_its_bytes() -> None:
    document = documents.encode_document(documents.INDEX, {"b": 1, "a": 2})
    assert document.digest == f"sha256:{hashlib.sha256(document.data).hexdigest()}"
    assert document.data == documents.encode_document(documents.INDEX, {"a": 2, "b": 1}).data


def test_index_lists_each_architecture() -> None:
    manifests = {
        arch: documents.encode_document(documents.MANIFEST, {"for": arch})
        for arch in ("arm64", "amd64")
    }
    index = json.loads(documents.build_index(manifests).data)
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]


def test_contents_combine_all_layers(tmp_path: Path) -> None:
    lower: Tree = {
        "usr/bin/sh": Entry(mode=EXECUTABLE, read=lambda: b"sh"),
        "var/lib/dpkg/status.d/libc6": text_file("Package: libc6\nVersion: 2.36-9\n"),
        "lib/x-1.dist-info/METADATA": text_file(
            "Name: x\nVersion: 1\nLicense-Expression: MIT\n\nText"
        ),
    }
    upper: Tree = {"usr/bin/.wh.sh": text_file(""), "app/main.py": text_file("main")}
    paths = [write_layer(tree, tmp_path / str(n)).path for n, tree in enumerate((lower, upper))]
    contents = read_contents(paths)
    assert "usr/bin/sh" not in contents.files
    assert contents.files["app/main.py"].size == 4
    assert contents.packages == [
        ImagePackage(kind="pypi", name="x", version="1", license="MIT"),
        ImagePackage(kind="deb", name="libc6", version="2.36-9"),
    ]


def test_layer_of_several_images_is_read_once_unless_its_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = write_layer({"bin/a": text_file("a")}, tmp_path / "layer")
    upper = write_layer({"bin/.wh.a": text_file("")}, tmp_path / "upper")
    other = write_layer({"bin/b": text_file("bb")}, tmp_path / "other")
    open_archive, opened = tarfile.open, []

    def count(*arguments: Any, **options: Any) -> tarfile.TarFile:
        opened.append(arguments)
        return open_archive(*arguments, **options)

    monkeypatch.setattr(tarfile, "open", count)
    ids = [layer.diff_id, upper.diff_id]
    assert "bin/a" not in read_contents([layer.path, upper.path], ids).files
    assert "bin/a" in read_contents([layer.path], ids).files
    assert len(opened) == 2
    other.path.replace(layer.path)
    with pytest.raises(LayerError, match="layer 1 unpacks to"):
        read_contents([layer.path], ids)
    assert "bin/b" in read_contents([layer.path], [other.diff_id]).files
    assert len(opened) == 3


def test_report_lists_forbidden_files(tmp_path: Path) -> None:
    tree: Tree = {
        "usr/bin/su": Entry(mode=0o4755, read=lambda: b""),
        "bin/bash": Entry(mode=EXECUTABLE, read=lambda: b""),
        "usr/bin/apt-get": Entry(mode=EXECUTABLE, read=lambda: b""),
        "usr/bin/gcc": Entry(mode=EXECUTABLE, read=lambda: b""),
        "opt/lib/pip/__main__.py": text_file(""),
        "opt/berth/app/sh": text_file("no program folder"),
    }
    contents = read_contents([write_layer(tree, tmp_path / "layer").path])
    report = build_report(contents, {"config": {"User": "0"}}, compressed=10)
    assert report.set_id == ["usr/bin/su"]
    assert report.shells == ["bin/bash"]
    assert report.managers == ["opt/lib/pip/__main__.py", "usr/bin/apt-get"]
    assert report.compilers == ["usr/bin/gcc"]
    assert len(list(find_defects(report))) == 7


def test_report_lists_variables_that_look_like_secrets() -> None:
    variables = [
        *(
            "DB_PASSWORD=hunter2",
            "API_TOKEN=abc",
            "VENDOR_KEY=0123456789abcdef0",
            "OPENAI=sk-" + "a" * 30,
        ),
        # Not a secret: a fingerprint, switches, files, short names, and empty values.
        "GPG_KEY=A035C8C19219BA821ECEA86B64E628F8D684696D",
        *("TOKENIZERS_PARALLELISM=false", "TOKEN_FILE=/run/token", "SORT_KEY=name", "PASSWORD="),
        *("PATH=/usr/bin:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "SECRET"),
    ]
    config = {"config": {"User": "1000", "Env": variables}}
    report = build_report(Contents({}, []), config, compressed=1)
    assert report.secrets == ["API_TOKEN", "DB_PASSWORD", "OPENAI", "VENDOR_KEY"]
    (defect,) = find_defects(replace(_HARDENED, secrets=report.secrets))
    assert defect == (
        "its configuration has environment variables that look like secrets: API_TOKEN, "
        "DB_PASSWORD, OPENAI, VENDOR_KEY"
    )


def test_hardened_image_has_no_defects() -> None:
    assert list(find_defects(_HARDENED)) == []


@pytest.mark.parametrize("user", ["", "0", "root", "0:0", "root:root"])
def test_root_user_is_a_defect(user: str) -> None:
    (line,) = find_defects(replace(_HARDENED, user=user))
    assert "must not run as root" in line


def test_sbom_lists_every_package_and_is_deterministic() -> None:
    packages = [
        ImagePackage(kind="pypi", name="PyYAML", version="6.0.3"),
        ImagePackage(kind="deb", name="libstdc++6", version="12.2.0-14+deb12u1"),
    ]
    document = build_sbom("registry/x@sha256:0", packages)
    urls = {
        reference["referenceLocator"]
        for package in json.loads(document)["packages"]
        for reference in package.get("externalRefs", [])
    }
    assert urls == {"pkg:pypi/pyyaml@6.0.3", "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1"}
    assert build_sbom("registry/x@sha256:0", packages[::-1]) == document


def test_package_url_normalizes_pypi_name() -> None:
    package = ImagePackage(kind="pypi", name="prometheus_client", version="1")
    assert package_url(package) == "pkg:pypi/prometheus-client@1"


def _scan(*command: str, fail_on: str = "high") -> Scan:
    return Scan(command=command, fail_on=fail_on, ignore_unfixed=False)


def test_scanner_exit_status_decides() -> None:
    assert run_scan(_scan("true", "{image}"), "x@sha256:0") == "true"
    with pytest.raises(ScanError, match=r"rejected x@sha256:0(.|\n)*CVE-1 in x@sha256:0"):
        run_scan(_scan("sh", "-c", "echo CVE-1 in {image}; exit 1"), "x@sha256:0")


def test_findings_do_not_fail_when_fail_on_is_never() -> None:
    assert run_scan(_scan("false", fail_on="never"), "x") == "false"


def test_missing_scanner_is_reported() -> None:
    with pytest.raises(ScanError, match=r"images\.scan\.command"):
        run_scan(_scan("/no/such/scanner"), "x")


def test_installed_scanner_gets_severity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_scanner(_scan(), "x") == []
    assert run_scan(_scan(), "x") == NO_SCANNER
    (tmp_path / "grype").touch(mode=0o755)
    assert "--fail-on=high" in find_scanner(_scan(), "x")
    (tmp_path / "trivy").touch(mode=0o755)
    assert "--severity=MEDIUM,HIGH,CRITICAL" in find_scanner(_scan(fail_on="medium"), "x")


@pytest.mark.parametrize(
    "reference",
    [f"reg.example.com:5000/a/b{tag}@sha256:{'0' * 64}" for tag in ("", ":1.2")],
)
def test_reference_is_split_into_repository_and_digest(reference: str) -> None:
    assert split_reference(reference) == ("reg.example.com:5000/a/b", f"sha256:{'0' * 64}")


def test_required_scanner_that_is_not_installed_rejects_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    scan = replace(_scan(), required=True)
    with pytest.raises(ScanError, match="No scanner is installed to check x, and one is required"):
        run_scan(scan, "x")


@pytest.mark.parametrize("fail_on", ["high", "never"])
def test_program_missing_inside_a_shell_does_not_pass(fail_on: str) -> None:
    with pytest.raises(ScanError, match="Could not run the scanner: sh exited with status 127"):
        run_scan(_scan("sh", "-c", "no-such-scanner {image}", fail_on=fail_on), "x")


def test_installed_scanner_that_fails_does_not_pass_when_fail_on_is_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trivy").write_text("#!/bin/sh\necho cannot download the database\nexit 1\n")
    (tmp_path / "trivy").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ScanError, match="cannot download the database"):
        run_scan(_scan(fail_on="never"), "x")
