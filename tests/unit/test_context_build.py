"""The image of a build context: what the command `docker` hands over is checked and pushed."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pulumi_berth.images.base_reader import ImageCheckError
from pulumi_berth.images.image_inputs import build_image, content_tag
from pulumi_berth.images.scan import ScanError
from pulumi_berth.oci.image_store import STORE_HOST
from pulumi_berth.oci.registry import Repository
from pulumi_berth.own_container_rules import ContextBuildError, digest_context
from tests.aws.strict_registry import serve_strict_registry

_HARDENED = {"etc/ssl/certs/ca-certificates.crt": "CA", "usr/share/zoneinfo/UTC": "UTC"}
# Replaces the command `docker`: it records its calls, and saves a prepared archive.
_DOCKER = """#!/bin/sh
echo "$DOCKER_HOST $@" >> "{calls}"
while [ $# -gt 0 ]; do
  case "$1" in
    --iidfile) echo sha256:1234 > "$2";;
    --output) cp "{archive}" "$2";;
  esac
  shift
done
"""


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _save(
    path: Path, files: dict[str, str], *, user: str = "1000", variables: tuple[str, ...] = ()
) -> None:
    """Write an archive as `docker save` does, with one layer that has two names."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, text in files.items():
            _add(tar, name, text.encode())
    diff_id = f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"User": user, "Env": list(variables)},
        "rootfs": {"type": "layers", "diff_ids": [diff_id, diff_id]},
    }
    manifest = [{"Config": "c.json", "Layers": ["1/layer.tar", "2/layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        _add(tar, "manifest.json", json.dumps(manifest).encode())
        _add(tar, "c.json", json.dumps(config).encode())
        _add(tar, "1/layer.tar", layer.getvalue())
        link = tarfile.TarInfo("2/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../1/layer.tar"
        tar.addfile(link)


Prepare = Callable[..., Any]


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prepare]:
    """A function that prepares an engine's image, and returns the inputs of its resource."""
    context, programs, archive = tmp_path / "context", tmp_path / "bin", tmp_path / "image.tar"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\n")
    programs.mkdir()
    (programs / "docker").write_text(_DOCKER.format(calls=tmp_path / "calls", archive=archive))
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-login"))
    (tmp_path / "storage").mkdir()
    with serve_strict_registry(tmp_path / "storage", repositories=["team/own"]) as registry:
        monkeypatch.setattr(
            "pulumi_berth.oci.registry.ecr_login",
            lambda host: ("AWS", registry.owner) if host == registry.host else None,
        )

        def prepare(files: dict[str, str], **config: Any) -> dict[str, Any]:
            _save(archive, files, **config)
            return {
                "repository": f"{registry.host}/team/own",
                "plain_http": True,
                "directory": str(context),
                "context_digest": digest_context(context),
                "architectures": ["amd64"],
                "scan": {"command": ["true"], "fail_on": "high", "ignore_unfixed": False},
            }

        yield prepare


def _count_builds(tmp_path: Path) -> int:
    calls = tmp_path / "calls"
    return calls.read_text().count(" build --platform linux/amd64") if calls.exists() else 0


def test_image_of_a_context_is_built_once_for_the_same_files(
    prepare: Prepare, tmp_path: Path
) -> None:
    inputs = prepare(_HARDENED)
    first = build_image(inputs)
    assert first["report"]["amd64"]["user"] == "1000"
    repository = Repository(name=inputs["repository"], plain_http=True)
    assert repository.digest_of(content_tag(inputs)) == first["digest"]
    assert build_image(inputs)["digest"] == first["digest"]
    assert build_image(inputs | {"pull_only": True})["digest"] == first["digest"]
    assert _count_builds(tmp_path) == 1


@pytest.mark.parametrize(
    ("files", "user", "defect"),
    [
        (_HARDENED | {"bin/sh": "shell"}, "1000", "it contains shells: /bin/sh"),
        (_HARDENED, "", "must not run as root"),
        ({}, "1000", "no CA certificates"),
    ],
)
def test_image_that_fails_the_check_is_not_pushed(
    files: dict[str, str], user: str, defect: str, prepare: Prepare
) -> None:
    inputs = prepare(files, user=user)
    with pytest.raises(ImageCheckError, match=defect):
        build_image(inputs)
    repository = Repository(name=inputs["repository"], plain_http=True)
    assert repository.digest_of(content_tag(inputs)) is None


def test_image_with_a_secret_in_a_variable_is_not_pushed(prepare: Prepare) -> None:
    inputs = prepare(_HARDENED, variables=("PATH=/bin", "DB_PASSWORD=hunter2"))
    with pytest.raises(ImageCheckError, match=r"look like secrets: DB_PASSWORD\.") as raised:
        build_image(inputs)
    assert "hunter2" not in str(raised.value)


def test_context_is_built_in_the_engine_of_the_stack(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///other.sock")
    build_image(prepare(_HARDENED) | {"engine": "unix:///stack.sock"})
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[:2] for call in calls] == [
        ["unix:///stack.sock", "build"],
        ["unix:///stack.sock", "save"],
    ]


def test_image_without_a_registry_is_scanned_as_an_archive(
    prepare: Prepare, tmp_path: Path
) -> None:
    """No scanner can pull it: `engine.invalid` is no registry."""
    seen = tmp_path / "seen"
    command = ["sh", "-c", f"tar -tf {{image}} > {seen}"]
    scan = {"command": command, "fail_on": "high", "ignore_unfixed": False}
    inputs = prepare(_HARDENED) | {"repository": f"{STORE_HOST}/own", "scan": scan}
    built = build_image(inputs)
    assert "manifest.json" in seen.read_text().splitlines()
    seen.unlink()
    assert build_image(inputs) == built  # Found in the store, and scanned again.
    assert "manifest.json" in seen.read_text().splitlines()
    with pytest.raises(ScanError, match="rejected"):
        build_image(inputs | {"scan": scan | {"command": ["false"]}})


def test_image_for_another_architecture_is_rejected(prepare: Prepare) -> None:
    inputs = prepare(_HARDENED) | {"architectures": ["arm64"]}
    with pytest.raises(ContextBuildError, match="built an image for amd64, not for arm64"):
        build_image(inputs)


def test_context_that_changed_during_the_update_is_not_built(
    prepare: Prepare, tmp_path: Path
) -> None:
    inputs = prepare(_HARDENED)
    Path(inputs["directory"], "server.py").write_text("new")
    with pytest.raises(ContextBuildError, match="changed while the update ran"):
        build_image(inputs)
    assert _count_builds(tmp_path) == 0


def test_failed_build_shows_the_end_of_its_output(prepare: Prepare, tmp_path: Path) -> None:
    inputs = prepare(_HARDENED)
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\necho no such package >&2\nexit 3\n")
    with pytest.raises(ContextBuildError, match=r"(?s)exited with status 3\..*no such package"):
        build_image(inputs)


def test_machine_without_docker_is_named_with_the_alternatives(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = prepare(_HARDENED)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ContextBuildError, match="set DOCKER_HOST to an engine, or build the image"):
        build_image(inputs)


def test_digest_of_a_context_covers_names_modes_links_and_content(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    digests = []

    def record() -> None:
        digests.append(digest_context(tmp_path))

    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    record()
    file.write_text("1")
    record()
    file.write_text("2")
    record()
    file.chmod(0o755)
    record()
    file.rename(tmp_path / "b.py")
    record()
    (tmp_path / "link").symlink_to("b.py")
    record()
    assert len(set(digests)) == len(digests)
    record()
    assert digests[-1] == digests[-2]


def test_directory_without_dockerfile_is_no_context(tmp_path: Path) -> None:
    with pytest.raises(ContextBuildError, match="contains no Dockerfile; correct the path"):
        digest_context(tmp_path)
