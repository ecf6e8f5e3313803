"""Which engine is used, and how a missing one is installed."""

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
from berth.engine.environment import VERSION
from tests.repository import REPOSITORY

PARTS = cache.NEEDED


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body)
    path.chmod(0o755)
    return path


def pulumi(folder: Path, version: str = VERSION, *, host: bool = True) -> Path:
    """Create programs that respond like an engine of this version."""
    if host:
        script(folder / "pulumi-language-python", "#!/bin/sh\n")
    return script(folder / "pulumi", f"#!/bin/sh\necho v{version}\n")


def fake_go(folder: Path, *, version: str = "go1.26.8", fails: bool = False) -> Path:
    """Create a `go` that "builds" scripts and appends its arguments to its log."""
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
                target.write_text("#!/bin/sh\\necho v{VERSION}\\n")
                target.chmod(0o755)
            """),
    )


class Site:
    """A release site on this machine: its files, and the requested names."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requested: list[str] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                site.requested.append(name)
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
                body = f"#!/bin/sh\necho v{VERSION}\n".encode()
                member = tarfile.TarInfo(f"pulumi/{name}")
                member.size = len(body)
                members.addfile(member, io.BytesIO(body))
        content = archive.getvalue()
        digest = checksum or hashlib.sha256(content).hexdigest()
        self.files[release.archive_name()] = content
        self.files[f"pulumi-{VERSION}-checksums.txt"] = (
            f"{'0' * 64}  pulumi-v{VERSION}-plan9-x64.tar.gz\n{digest}  {release.archive_name()}\n"
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
    """A release site that refuses connections, on a port that was just free."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.server_close()
    monkeypatch.setattr(release, "BASE", f"http://127.0.0.1:{server.server_port}")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on the PATH, with a separate cache."""
    folder = tmp_path / "on-path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def messages() -> list[str]:
    return []


def cache_directory(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "berth" / f"pulumi-{VERSION}" / "bin"


def test_pinned_versions_of_the_engine_are_equal() -> None:
    requirements = (REPOSITORY / "requirements.txt").read_text()
    assert f"pulumi=={VERSION}\n" in requirements
    module = (REPOSITORY / "infra/berth/engine/cli/go.mod").read_text()
    assert f"require github.com/pulumi/pulumi/pkg/v3 v{VERSION}\n" in module


def test_engine_on_path_is_used_silently(path: Path, messages: list[str]) -> None:
    pulumi(path, "3.170.0")
    assert ensure_engine(messages.append) == Engine(path, "3.170.0")
    assert messages == []


def test_version_on_path_is_read_again_only_after_a_change(
    path: Path, tmp_path: Path, messages: list[str]
) -> None:
    calls = tmp_path / "calls"
    program = script(path / "pulumi", f"#!/bin/sh\necho x >> {calls}\necho v3.170.0\n")
    script(path / "pulumi-language-python", "#!/bin/sh\n")
    for _ in range(3):
        assert ensure_engine(messages.append) == Engine(path, "3.170.0")
    assert calls.read_text() == "x\n"
    program.write_text(program.read_text().replace("v3.170.0", "v3.1710.0"))
    assert ensure_engine(messages.append) == Engine(path, "3.1710.0")
    assert calls.read_text() == "x\nx\n"
    (tmp_path / "cache" / "berth" / "engine-versions.json").write_text("[broken")
    assert ensure_engine(messages.append) == Engine(path, "3.1710.0")


@pytest.mark.parametrize(
    ("version", "host", "reason"),
    [
        ("2.25.0", True, r"has version 2\.25\.0; Berth requires 3\.100 or newer, below 4"),
        ("3.99.0", True, r"has version 3\.99\.0"),
        ("4.0.0", True, r"has version 4\.0\.0"),
        ("banana", True, r"printed 'vbanana'"),
        ("3.170.0", False, r"pulumi-language-python is not on the PATH"),
    ],
)
def test_unsupported_engine_on_path_is_reported_and_ignored(
    path: Path, tmp_path: Path, messages: list[str], version: str, host: bool, reason: str
) -> None:
    pulumi(path, version, host=host)
    for name in PARTS:
        script(cache_directory(tmp_path) / name, "#!/bin/sh\n")
    assert ensure_engine(messages.append) == Engine(cache_directory(tmp_path), VERSION)
    assert re.search(reason, messages[0])


def test_release_is_downloaded_verified_and_cached(
    path: Path, tmp_path: Path, site: Site, messages: list[str]
) -> None:
    site.publish()
    assert ensure_engine(messages.append) == Engine(cache_directory(tmp_path), VERSION)
    # Only what a Python program needs, and nothing outside the folder.
    names = {entry.name for entry in cache_directory(tmp_path).iterdir()}
    assert names == set(PARTS)
    assert not list(tmp_path.rglob("escaped*"))
    assert all(os.access(cache_directory(tmp_path) / name, os.X_OK) for name in PARTS)
    assert any("SHA-256" in line for line in messages)

    requested, reported = len(site.requested), len(messages)
    assert ensure_engine(messages.append).directory == cache_directory(tmp_path)
    assert (len(site.requested), len(messages)) == (requested, reported)


@pytest.mark.parametrize(
    ("defect", "reason"),
    [
        ("checksum", r"has the SHA-256 [0-9a-f]{64}, but .* lists f{64}"),
        ("unnamed", r"checksum file does not list pulumi-v"),
        ("no archive", r"\.tar\.gz returned HTTP 404"),
        ("incomplete", r"lacks pulumi-resource-pulumi-python"),
        ("not an archive", r"ReadError"),
    ],
)
def test_invalid_release_is_rejected(
    path: Path, tmp_path: Path, site: Site, messages: list[str], defect: str, reason: str
) -> None:
    site.publish(
        names=PARTS[:-1] if defect == "incomplete" else PARTS,
        checksum="f" * 64 if defect == "checksum" else None,
    )
    checksums = f"pulumi-{VERSION}-checksums.txt"
    match defect:
        case "unnamed":
            site.files[checksums] = b"0  another.tar.gz\n"
        case "no archive":
            del site.files[release.archive_name()]
        case "not an archive":
            site.files[release.archive_name()] = body = b"<html>no</html>"
            digest = hashlib.sha256(body).hexdigest()
            site.files[checksums] = f"{digest}  {release.archive_name()}".encode()
    with pytest.raises(EngineError, match=reason):
        ensure_engine(messages.append)
    assert not cache_directory(tmp_path).exists()
    assert not list((tmp_path / "cache" / "berth").glob("*.draft-*"))


@pytest.mark.usefixtures("offline")
def test_engine_is_built_with_go_without_release(
    path: Path, tmp_path: Path, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_go(path)
    monkeypatch.setenv("GOOS", "windows")
    assert ensure_engine(messages.append) == Engine(cache_directory(tmp_path), VERSION)
    assert {entry.name for entry in cache_directory(tmp_path).iterdir()} == set(PARTS)
    assert all(os.access(cache_directory(tmp_path) / name, os.X_OK) for name in PARTS)
    assert any("could not reach" in line for line in messages)
    assert any("building Pulumi" in line for line in messages)
    builds = [line for line in (path / "log").read_text().splitlines() if " build " in line]
    assert [Path(line.split()[0]).name for line in builds] == ["cli", "python-host"]
    assert all(" None build " in line and "-mod=readonly" in line for line in builds)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("version", "fails", "reason"),
    [
        ("go1.20.14", False, r"Go 1\.21 or newer is required"),
        (
            "go1.26.8",
            True,
            r"exited with status 1:\ngo: example\.com/missing@v1\.2\.3: no such module",
        ),
        (None, False, r"go is not on the PATH"),
    ],
)
def test_error_lists_every_reason_and_what_to_install(
    path: Path, messages: list[str], version: str | None, fails: bool, reason: str
) -> None:
    if version:
        fake_go(path, version=version, fails=fails)
    with pytest.raises(EngineError, match=reason) as caught:
        ensure_engine(messages.append)
    message = str(caught.value)
    assert "pulumi is not installed" in message
    assert "could not reach" in message
    assert "https://www.pulumi.com/docs/install/" in message
    assert "https://go.dev/dl/" in message


def test_unwritable_cache_is_reported(path: Path, tmp_path: Path, messages: list[str]) -> None:
    (tmp_path / "cache").write_text("a file instead of the directory")
    with pytest.raises(EngineError, match=r"cache: .*cache"):
        ensure_engine(messages.append)


def test_simultaneous_commands_install_one_engine(path: Path, tmp_path: Path, site: Site) -> None:
    site.publish()
    found: list[Engine] = []
    messages: list[str] = []
    with cache.lock_cache(messages.append):
        threads = [
            threading.Thread(target=lambda: found.append(ensure_engine(messages.append)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [Engine(cache_directory(tmp_path), VERSION)] * 2
    assert site.requested.count(release.archive_name()) == 1


@pytest.mark.usefixtures("offline")
def test_leftovers_of_killed_command_are_replaced(
    path: Path, tmp_path: Path, messages: list[str]
) -> None:
    fake_go(path)
    left = tmp_path / "cache" / "berth" / f"pulumi-{VERSION}.draft-abc"
    script(left / "bin" / "pulumi", "half")
    script(cache_directory(tmp_path) / "pulumi", "half")
    ensure_engine(messages.append)
    assert not left.exists()
    assert {entry.name for entry in cache_directory(tmp_path).iterdir()} == set(PARTS)
