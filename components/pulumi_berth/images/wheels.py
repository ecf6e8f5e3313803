"""Wheels: Python libraries as files of an image, without an installer in it."""

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pulumi_berth.images.fetch import FetchError
from pulumi_berth.oci.cache import alone, cache_folder
from pulumi_berth.oci.tree import EXECUTABLE, PLAIN, Entry, Tree

LIBRARIES = "opt/berth/lib"
"""Where they lie in the image; PYTHONPATH names it."""
PYTHON_VERSION = "3.11"
# Debian 12 has glibc 2.36; 2.28 is the newest that the wheels in use ask for. pip wants each level.
_GLIBC = range(28, 16, -1)
PLATFORMS = {
    architecture: (*(f"manylinux_2_{minor}_{cpu}" for minor in _GLIBC), f"manylinux2014_{cpu}")
    for architecture, cpu in (("amd64", "x86_64"), ("arm64", "aarch64"))
}

# Tests, type stubs and converters: 50 MB that never run. libonnxruntime.so is for C programs; the
# Python binding has its own copy inside.
_DROPPED = re.compile(
    r".*/tests?/|.*\.pyi$|.*\.(h|c|pyx|pxd|a)$|numpy/(f2py|_pyinstaller|doc|distutils)/"
    r"|onnxruntime/(transformers|quantization|tools|datasets|backend)/"
    r"|onnxruntime/capi/libonnxruntime\.so|[^/]+\.data/scripts/|.*/__pycache__/"
    r"|[^/]+\.dist-info/(RECORD|WHEEL|INSTALLER|entry_points\.txt)$"
)


@dataclass(frozen=True, kw_only=True)
class LockedWheel:
    """One wheel, `file` by its sha256 (hex)."""

    name: str
    version: str
    file: str
    sha256: str


def read_wheel_lock(path: Path, runtime: str, architecture: str) -> list[LockedWheel]:
    """The wheels of a runtime (`serving-cpu`, `serving-cuda`, `gateway`), as locked."""
    content = json.loads(path.read_text())
    return [LockedWheel(**entry) for entry in content[runtime][architecture]]


def fetch_wheels(wheels: list[LockedWheel], architecture: str) -> list[Path]:
    """The wheel files, from the cache or by pip, whose own configuration says where from.

    Raises:
        FetchError: pip could not have them all as locked; the text is pip's.
    """
    folder = cache_folder("wheels")
    # Two images that need the same wheels download them once.
    with alone(folder / ".lock"):
        missing = [wheel for wheel in wheels if not (folder / wheel.file).exists()]
        if missing:
            with tempfile.TemporaryDirectory(dir=folder) as beside:
                _download(missing, architecture, Path(beside))
                for wheel in missing:
                    Path(beside, wheel.file).replace(folder / wheel.file)
    return [folder / wheel.file for wheel in wheels]


def _download(wheels: list[LockedWheel], architecture: str, folder: Path) -> None:
    wanted = folder / "wanted.txt"
    wanted.write_text(
        "\n".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}" for wheel in wheels)
    )
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation=cp",
        f"--python-version={PYTHON_VERSION}", f"--dest={folder}", f"--requirement={wanted}",
        *(f"--platform={platform}" for platform in PLATFORMS[architecture]),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FetchError(f"wheels of the image cannot be had:\n{done.stderr.strip()}")


def libraries_tree(wheels: list[Path]) -> Tree:
    """The files of the wheels that an image needs."""
    tree: Tree = {}
    for path in wheels:
        archive = zipfile.ZipFile(path)
        for info in archive.infolist():
            if info.is_dir() or _DROPPED.match(info.filename):
                continue
            name = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", info.filename)
            mode = EXECUTABLE if name.endswith(".so") or ".so." in name else PLAIN
            tree[f"{LIBRARIES}/{name}"] = Entry(mode=mode, read=_reader(archive, info))
    return tree


def _reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], bytes]:
    return lambda: archive.read(info)
