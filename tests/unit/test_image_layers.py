"""Image layers: archives whose bytes depend only on the tree."""

import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from berth_protocol.model_card import CardError, digest
from pulumi_berth.images.base import USER, base_tree
from pulumi_berth.images.debian import Package, PackageError, unpack
from pulumi_berth.images.layers import MODEL, PROGRAMS, model_layer, program_layer
from pulumi_berth.images.wheels import LIBRARIES, libraries_tree
from pulumi_berth.oci.layer import EPOCH, LayerError, write_layer
from pulumi_berth.oci.tree import Entry, Tree, directory, read_tree, symlink, text_file
from pulumi_berth.program_source import PROGRAM_PACKAGES
from tests.repository import REPOSITORY


def _tar_xz(
    files: dict[str, bytes], links: dict[str, str] | None = None, mode: int = 0o644
) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(f"./{name}")
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return lzma.compress(stream.getvalue())


def _deb(control: str, data: bytes) -> bytes:
    def member(name: str, content: bytes) -> bytes:
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        return head + content + b"\n" * (len(content) % 2)

    return (
        b"!<arch>\n"
        + member("debian-binary", b"2.0\n")
        + member("control.tar.xz", _tar_xz({"control": control.encode()}))
        + member("data.tar.xz", data)
    )


def _package(name: str, files: dict[str, bytes], mode: int = 0o644) -> Package:
    control = f"Package: {name}\nVersion: 1.0\n"
    return unpack(name, _deb(control, _tar_xz(files, mode=mode)))


def _content(tree: Tree, path: str) -> bytes:
    read = tree[path].read
    assert read is not None
    return read()


def test_equal_trees_give_equal_bytes(tmp_path: Path) -> None:
    entries = {"b/two": text_file("2"), "a": symlink("b/two"), "tmp": directory(0o1777)}
    first = write_layer(entries, tmp_path / "first")
    second = write_layer(dict(reversed(entries.items())), tmp_path / "second")
    assert first.digest == second.digest
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_layer_digests_and_sizes_match_its_content(tmp_path: Path) -> None:
    import gzip
    import hashlib

    layer = write_layer({"etc/name": text_file("content")}, tmp_path / "layer")
    data = layer.path.read_bytes()
    assert layer.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert layer.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(data)).hexdigest()}"
    assert (layer.size, layer.unpacked) == (len(data), len("content"))


def test_files_belong_to_root_with_fixed_time_and_own_mode(tmp_path: Path) -> None:
    tree = {"bin/tool": Entry(mode=0o755, read=lambda: b"x"), "tmp": directory(0o1777)}
    with tarfile.open(write_layer(tree, tmp_path / "layer").path) as tar:
        members = {member.name: member for member in tar}
    assert list(members) == ["bin", "bin/tool", "tmp"]
    assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, EPOCH)}
    assert [oct(m.mode) for m in members.values()] == ["0o755", "0o755", "0o1777"]


def test_file_modes_of_checkout_do_not_change_digest(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.py").write_text("a")
    before = write_layer(read_tree(source, under="app"), tmp_path / "before")
    (source / "a.py").chmod(0o600)
    os.utime(source / "a.py", (1, 1))
    after = write_layer(read_tree(source, under="app"), tmp_path / "after")
    assert before.digest == after.digest


def test_debian_package_is_unpacked_without_dpkg() -> None:
    data = _tar_xz({"usr/lib/x.so": b"odd"}, {"usr/lib/y.so": "x.so"})
    package = unpack("x", _deb("Package: x\nVersion: 1\n", data))
    assert package.control.startswith("Package: x")
    assert _content(package.files, "usr/lib/x.so") == b"odd"
    assert package.files["usr/lib/y.so"].target == "x.so"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"!<arch>\n"])
def test_invalid_debian_package_is_rejected_by_name(data: bytes) -> None:
    with pytest.raises(PackageError, match=r"^x\.deb: "):
        unpack("x.deb", data)


def test_base_image_keeps_runtime_files_and_drops_tools() -> None:
    files = {
        "bin/sh": b"", "usr/bin/dpkg": b"", "usr/bin/python3.11": b"python", "sbin/ldconfig": b"",
        "lib/x86_64-linux-gnu/libc.so.6": b"c", "usr/lib/python3.11/os.py": b"",
        "usr/lib/python3.11/ensurepip/__init__.py": b"", "usr/share/man/man1/x.1": b"",
        "usr/share/doc/x/copyright": b"free", "usr/share/doc/x/changelog.gz": b"",
        "usr/share/zoneinfo/UTC": b"", "var/lib/x": b"", "etc/profile": b"", "etc/os-release": b"",
        "usr/share/ca-certificates/mozilla/B.crt": b"B",
        "usr/share/ca-certificates/mozilla/A.crt": b"A\n",
    }  # fmt: skip
    tree = base_tree([_package("x", files)])
    assert {
        "usr/bin/python3.11", "usr/bin/python3", "usr/lib/x86_64-linux-gnu/libc.so.6",
        "usr/lib/python3.11/os.py", "usr/share/doc/x/copyright", "usr/share/zoneinfo/UTC",
        "etc/os-release", "var/lib/dpkg/status.d/x",
    } <= tree.keys()  # fmt: skip
    dropped = (
        "bin/sh", "usr/bin/sh", "usr/bin/dpkg", "usr/sbin/ldconfig", "var/lib/x", "etc/profile",
        "usr/lib/python3.11/ensurepip/__init__.py", "usr/share/man/man1/x.1",
        "usr/share/doc/x/changelog.gz",
    )  # fmt: skip
    assert not tree.keys() & set(dropped)
    assert tree["lib"].target == "usr/lib"
    assert _content(tree, "etc/ssl/certs/ca-certificates.crt") == b"A\nB\n"
    assert f"{USER}:{USER}".encode() in _content(tree, "etc/passwd")


def test_libraries_omit_tests_scripts_and_type_stubs(tmp_path: Path) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in (
            "x/__init__.py", "x/fast.so", "x/tests/test_x.py", "x/__init__.pyi",
            "x-1.data/scripts/run", "x-1.data/purelib/y.py", "x-1.dist-info/METADATA",
            "x-1.dist-info/RECORD",
        ):  # fmt: skip
            archive.writestr(name, name)
    tree = libraries_tree([path])
    assert set(tree) == {
        f"{LIBRARIES}/{name}"
        for name in ("x/__init__.py", "x/fast.so", "y.py", "x-1.dist-info/METADATA")
    }
    assert tree[f"{LIBRARIES}/x/fast.so"].mode == 0o755
    assert _content(tree, f"{LIBRARIES}/y.py") == b"x-1.data/purelib/y.py"


def test_link_never_enters_a_layer(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "secret").write_text("secret")
    (source / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(LayerError, match="link: cannot be in an image: is a symbolic link"):
        write_layer(read_tree(source, under="app"), tmp_path / "layer")


def test_pipe_does_not_block_a_layer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LayerError, match="not a regular file"):
        write_layer({"pipe": Entry(mode=0o644, path=tmp_path / "pipe")}, tmp_path / "layer")


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of a model version, for layers in an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(REPOSITORY / "models" / "digits" / "1", tmp_path / "1"))


def test_model_layer_contains_exactly_the_files_of_the_card(version: Path) -> None:
    layer = model_layer(version, digest(version))
    with tarfile.open(layer.path) as tar:
        files = {member.name: member for member in tar if not member.isdir()}
        assert set(files) == {f"{MODEL}/model.yaml", f"{MODEL}/model.onnx"}
        for name, member in files.items():
            stream = tar.extractfile(member)
            assert stream is not None
            assert stream.read() == (version / Path(name).name).read_bytes()


def _add_file(version: Path) -> None:
    (version / "unlisted.txt").write_text("")


def _link_model(version: Path) -> None:
    (version / "model.onnx").rename(version.parent / "elsewhere")
    (version / "model.onnx").symlink_to(version.parent / "elsewhere")


def _change_model(version: Path) -> None:
    (version / "model.onnx").write_bytes(b"other")


def _change_card(version: Path) -> None:
    with (version / "model.yaml").open("a") as stream:
        stream.write("# later\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_add_file, r"unlisted\.txt: is not listed"),
        (_link_model, r"model\.onnx: is a symbolic link"),
        (_change_model, r"model\.onnx: is sha256:\w+, expected sha256:"),
        (_change_card, r"model\.yaml: is sha256:\w+, expected sha256:"),
    ],
)
def test_version_that_differs_from_its_digest_has_no_layer(
    change: Callable[[Path], None], message: str, version: Path
) -> None:
    expected = digest(version)
    change(version)
    with pytest.raises((CardError, LayerError), match=message):
        model_layer(version, expected)


@pytest.mark.slow
def test_file_larger_than_the_memory_is_streamed(tmp_path: Path) -> None:
    """Write a layer with a file of 1 GiB in a process that may allocate 300 MB more."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 30)
    program = f"""
import resource
from pathlib import Path
from pulumi_berth.oci.layer import write_layer
from pulumi_berth.oci.tree import Entry
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000, used + 300_000_000))
tree = {{"large": Entry(mode=0o644, path=Path({str(tmp_path / "large")!r}))}}
print(write_layer(tree, Path({str(tmp_path / "layer")!r})).unpacked)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{1 << 30}\n", done.stderr


@pytest.mark.parametrize("program", sorted(PROGRAM_PACKAGES))
def test_program_layer_contains_only_source_of_its_packages(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with tarfile.open(program_layer(program).path) as tar:
        files = [member.name for member in tar if member.isfile()]
    packages = {path.removeprefix(f"{PROGRAMS}/").split("/")[0] for path in files}
    assert packages == set(PROGRAM_PACKAGES[program])
    assert all(path.startswith(f"{PROGRAMS}/") and path.endswith(".py") for path in files)
    assert f"{PROGRAMS}/{program}/__main__.py" in files
