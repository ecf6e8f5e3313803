"""Which engine is used, and what happens where there is none."""

import hashlib
import http.server
import io
import os
import re
import sys
import tarfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.engine import Engine, EngineError, cache, ensure_engine, release
from tests.repository import REPOSITORY

PARTS = cache.NEEDED


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body)
    path.chmod(0o755)
    return path


def pulumi(folder: Path, version: str = cache.VERSION, *, host: bool = True) -> Path:
    """Programs that answer as an engine of this version does."""
    if host:
        script(folder / "pulumi-language-python", "#!/bin/sh\n")
    return script(folder / "pulumi", f"#!/bin/sh\necho v{version}\n")


def fake_go(folder: Path, *, version: str = "go1.26.8", fails: bool = False) -> Path:
    """A `go` that "builds" scripts; what it was asked is appended to its log."""
    sdk = folder / "sdk"
    for name in (
        "python/cmd/pulumi-language-python-exec",
        "python/dist/pulumi-resource-pulumi-python",
    ):
        script(sdk / name, "#!/bin/sh\n").chmod(0o444)
    return script(
        folder / "go",
        textwrap.dedent(f"""\
            #!{sys.executable}
            import os, pathlib, sys
            arguments = sys.argv[1:]
            with open({str(folder / "log")!r}, "a") as log:
                print(os.getcwd(), os.environ.get("GOOS"), *arguments, file=log)
            if arguments[0] == "version":
                print("go version {version} linux/amd64")
            elif arguments[0] == "list":
                print({str(sdk)!r})
            elif {fails}:
                print("go: example.com/missing@v1.2.3: no such module")
                sys.exit(1)
            else:
                target = pathlib.Path(arguments[arguments.index("-o") + 1])
                target.write_text("#!/bin/sh\\necho v{cache.VERSION}\\n")
                target.chmod(0o755)
            """),
    )


class Site:
    """A release site on this machine: its files, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                site.asked.append(name)
                body = site.files.get(name)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def publish(self, *, names: tuple[str, ...] = PARTS, checksum: str | None = None) -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as members:
            for name in (*names, "pulumi-language-nodejs", "../../escaped-python"):
                body = f"#!/bin/sh\necho v{cache.VERSION}\n".encode()
                member = tarfile.TarInfo(f"pulumi/{name}")
                member.size = len(body)
                members.addfile(member, io.BytesIO(body))
        content = archive.getvalue()
        digest = checksum or hashlib.sha256(content).hexdigest()
        self.files[release.archive_name()] = content
        self.files[f"pulumi-{cache.VERSION}-checksums.txt"] = (
            f"{'0' * 64}  pulumi-v{cache.VERSION}-plan9-x64.tar.gz\n"
            f"{digest}  {release.archive_name()}\n"
        ).encode()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    found = Site()
    monkeypatch.setattr(release, "BASE", found.url)
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release site that refuses connections: a port that was free a moment ago."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.server_close()
    monkeypatch.setattr(release, "BASE", f"http://127.0.0.1:{server.server_port}")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder on the PATH, and a cache of its own."""
    folder = tmp_path / "on-path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def said() -> list[str]:
    return []


def kept_folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "berth" / f"pulumi-{cache.VERSION}" / "bin"


def test_pins_of_the_engine_agree() -> None:
    requirements = (REPOSITORY / "requirements.txt").read_text()
    assert f"pulumi=={cache.VERSION}\n" in requirements
    module = (REPOSITORY / "infra/berth/engine/cli/go.mod").read_text()
    assert f"require github.com/pulumi/pulumi/pkg/v3 v{cache.VERSION}\n" in module


def test_the_one_on_the_path_is_used_silently(path: Path, said: list[str]) -> None:
    pulumi(path, "3.170.0")
    assert ensure_engine(said.append) == Engine(path, "3.170.0")
    assert said == []


@pytest.mark.parametrize(
    ("version", "host", "why"),
    [
        ("2.25.0", True, r"is version 2\.25\.0; 3\.100 or newer, below 4, is needed"),
        ("3.99.0", True, r"is version 3\.99\.0"),
        ("4.0.0", True, r"is version 4\.0\.0"),
        ("banana", True, r"said 'vbanana'"),
        ("3.170.0", False, r"pulumi-language-python is not on the PATH"),
    ],
)
def test_an_unfit_one_on_the_path_is_told_and_passed_over(
    path: Path, tmp_path: Path, said: list[str], version: str, host: bool, why: str
) -> None:
    pulumi(path, version, host=host)
    for name in PARTS:
        script(kept_folder(tmp_path) / name, "#!/bin/sh\n")
    assert ensure_engine(said.append) == Engine(kept_folder(tmp_path), cache.VERSION)
    assert re.search(why, said[0])


def test_the_release_is_fetched_checked_and_kept(
    path: Path, tmp_path: Path, site: Site, said: list[str]
) -> None:
    site.publish()
    assert ensure_engine(said.append) == Engine(kept_folder(tmp_path), cache.VERSION)
    # Only what a Python program needs, and nothing outside the folder.
    names = {entry.name for entry in kept_folder(tmp_path).iterdir()}
    assert names == set(PARTS)
    assert not list(tmp_path.rglob("escaped*"))
    assert all(os.access(kept_folder(tmp_path) / name, os.X_OK) for name in PARTS)
    assert any("SHA-256" in line for line in said)

    asked, told = len(site.asked), len(said)
    assert ensure_engine(said.append).directory == kept_folder(tmp_path)
    assert (len(site.asked), len(said)) == (asked, told)


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        ("checksum", r"has the SHA-256 [0-9a-f]{64}, but .* says f{64}: not used"),
        ("unnamed", r"checksum file does not name pulumi-v"),
        ("no archive", r"\.tar\.gz answered 404"),
        ("incomplete", r"lacks pulumi-resource-pulumi-python"),
        ("not an archive", r"ReadError"),
    ],
)
def test_a_release_that_is_not_right_is_refused(
    path: Path, tmp_path: Path, site: Site, said: list[str], trouble: str, why: str
) -> None:
    site.publish(
        names=PARTS[:-1] if trouble == "incomplete" else PARTS,
        checksum="f" * 64 if trouble == "checksum" else None,
    )
    checksums = f"pulumi-{cache.VERSION}-checksums.txt"
    match trouble:
        case "unnamed":
            site.files[checksums] = b"0  another.tar.gz\n"
        case "no archive":
            del site.files[release.archive_name()]
        case "not an archive":
            site.files[release.archive_name()] = body = b"<html>no</html>"
            digest = hashlib.sha256(body).hexdigest()
            site.files[checksums] = f"{digest}  {release.archive_name()}".encode()
    with pytest.raises(EngineError, match=why):
        ensure_engine(said.append)
    assert not kept_folder(tmp_path).exists()
    assert not list((tmp_path / "cache" / "berth").glob("*.draft-*"))


@pytest.mark.usefixtures("offline")
def test_without_a_release_go_builds_it(
    path: Path, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_go(path)
    monkeypatch.setenv("GOOS", "windows")
    assert ensure_engine(said.append) == Engine(kept_folder(tmp_path), cache.VERSION)
    assert {entry.name for entry in kept_folder(tmp_path).iterdir()} == set(PARTS)
    assert all(os.access(kept_folder(tmp_path) / name, os.X_OK) for name in PARTS)
    assert any("cannot be reached" in line for line in said)
    assert any("building Pulumi" in line for line in said)
    builds = [line for line in (path / "log").read_text().splitlines() if " build " in line]
    assert [Path(line.split()[0]).name for line in builds] == ["cli", "python-host"]
    assert all(" None build " in line and "-mod=readonly" in line for line in builds)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("version", "fails", "why"),
    [
        ("go1.20.14", False, r"Go 1\.21 or newer is needed"),
        ("go1.26.8", True, r"exited 1:\ngo: example\.com/missing@v1\.2\.3: no such module"),
        (None, False, r"no go on the PATH"),
    ],
)
def test_without_any_way_the_message_says_why_and_what_to_do(
    path: Path, said: list[str], version: str | None, fails: bool, why: str
) -> None:
    if version:
        fake_go(path, version=version, fails=fails)
    with pytest.raises(EngineError, match=why) as caught:
        ensure_engine(said.append)
    message = str(caught.value)
    assert "there is no pulumi" in message
    assert "cannot be reached" in message
    assert "https://www.pulumi.com/docs/install/" in message
    assert "https://go.dev/dl/" in message


def test_a_cache_that_cannot_be_written_is_told(
    path: Path, tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(EngineError, match=r"making one: .*cache"):
        ensure_engine(said.append)


def test_two_at_once_make_one(path: Path, tmp_path: Path, site: Site) -> None:
    site.publish()
    found: list[Engine] = []
    said: list[str] = []
    with cache.alone(said.append):
        threads = [
            threading.Thread(target=lambda: found.append(ensure_engine(said.append)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [Engine(kept_folder(tmp_path), cache.VERSION)] * 2
    assert site.asked.count(release.archive_name()) == 1


@pytest.mark.usefixtures("offline")
def test_what_a_killed_command_left_is_removed_and_a_torn_engine_made_anew(
    path: Path, tmp_path: Path, said: list[str]
) -> None:
    fake_go(path)
    left = tmp_path / "cache" / "berth" / f"pulumi-{cache.VERSION}.draft-abc"
    script(left / "bin" / "pulumi", "half")
    script(kept_folder(tmp_path) / "pulumi", "half")
    ensure_engine(said.append)
    assert not left.exists()
    assert {entry.name for entry in kept_folder(tmp_path).iterdir()} == set(PARTS)
